//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The clients that were removed from an exit's access list, in a file, so that they learn the reason of a refusal after a
/// restart, too.
///
/// The file contains lines of a public key as hex digits and the time until which the exit remembers it, in seconds since
/// 1970.
struct RevokedClients {
    /// Number of bytes after which the rest of the file is ignored. A line has at most 86.
    private static let maximumLength = 86 * CredentialTable.maximumRevocations

    private let path: String?
    private var saved: [PublicKey: Int64] = [:]

    /// - Parameter path: The file; nil to write nothing.
    init(path: String?) { self.path = path }

    /// Reads the clients. Invalid lines are skipped: their clients get no answer.
    ///
    /// - Throws: The system's error if the file exists but cannot be read.
    mutating func read() throws -> [PublicKey: Int64] {
        guard let path, FileManager.default.fileExists(atPath: path) else { return [:] }
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        let text = String(decoding: data.prefix(Self.maximumLength), as: UTF8.self)
        // The last line may be incomplete.
        let lines = text.split(whereSeparator: \.isNewline).dropLast(data.count > Self.maximumLength ? 1 : 0)
        for line in lines.prefix(CredentialTable.maximumRevocations) {
            let fields = line.split(separator: " ")
            guard fields.count == 2, let key = Bytes32(hex: String(fields[0])), let until = Int64(fields[1]) else {
                continue
            }
            self.saved[PublicKey(unchecked: key)] = until
        }
        return self.saved
    }

    /// Replaces the file if the clients have changed.
    ///
    /// - Throws: The system's error.
    mutating func write(_ clients: [PublicKey: Int64]) throws {
        guard let path, clients != self.saved else { return }
        let text = clients.map { "\($0.key.hex) \($0.value)\n" }.joined()
        try StateFile.save(Array(text.utf8), to: path)
        self.saved = clients
    }
}
