//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The relay lists that an exit has written, by their ids: another one belongs to whoever else has the key, and stays.
///
/// A file with one id a line, the newest last; without a file, memory alone.
struct WrittenLists {
    /// Most that are remembered: relays may be late with the newest.
    private static let maximumCount = 16

    private let path: String?
    private var ids: [EventID] = []

    /// - Throws: If the file is there and cannot be read.
    init(path: String?) throws {
        self.path = path
        guard let path, FileManager.default.fileExists(atPath: path) else { return }
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        // A damaged line makes a list of ours look like another's, which keeps it from being replaced: the safe side.
        self.ids = text.split(whereSeparator: \.isNewline).suffix(Self.maximumCount)
            .compactMap { Bytes32(hex: String($0)).map { EventID($0) } }
    }

    func contains(_ id: EventID) -> Bool { self.ids.contains(id) }

    /// Remembers a list before it goes out.
    ///
    /// - Throws: The system's error.
    mutating func insert(_ id: EventID) throws {
        guard !self.ids.contains(id) else { return }
        let ids = (self.ids + [id]).suffix(Self.maximumCount)
        if let path {
            let text = ids.map { $0.bytes.hex + "\n" }.joined()
            _ = close(try StateFile.replace(path, with: Array(text.utf8)))
        }
        self.ids = Array(ids)
    }
}
