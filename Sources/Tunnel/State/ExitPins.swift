//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
package import NostrCrypto

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

/// The exits that are known to speak sessions. With them nothing less is spoken, so that a relay which swallows
/// acceptances cannot bring that about.
///
/// A file with one npub a line, readable by its owner alone, since it tells whom one visits. Lines can be removed
/// while an entry runs; it reads the file again when it changes.
package final class ExitPins {
    /// A file that is not what was written.
    package struct DamagedFile: Error, CustomStringConvertible {
        package let description: String
    }

    /// Most exits that are remembered.
    package static let maximumCount = 10_000

    private let path: String?
    private var keys: [PublicKey] = []
    private var readAt: Date?

    /// - Parameter path: The file; nil for memory alone.
    /// - Throws: If the file is there and cannot be read.
    package init(path: String?) throws {
        self.path = path
        try self.read()
    }

    package var all: [PublicKey] { self.keys }

    package func contains(_ key: PublicKey) -> Bool {
        // A file that cannot be read any more changes nothing of what is known.
        try? self.read()
        return self.keys.contains(key)
    }

    /// Remembers an exit. False if there is no room. Throws rather than wait for another process.
    package func insert(_ key: PublicKey) throws -> Bool {
        try self.read()
        guard !self.keys.contains(key) else { return true }
        return try self.change(waits: false) {
            guard self.keys.count < Self.maximumCount else { return false }
            if !self.keys.contains(key) { self.keys.append(key) }
            return true
        }
    }

    /// Reads, changes and writes with no other process in between.
    private func change(waits: Bool, _ body: () -> Bool) throws -> Bool {
        guard let path else { return body() }
        return try StateFile.exclusively(path, waits: waits) {
            self.readAt = nil
            try self.read()
            guard body() else { return false }
            try self.write()
            return true
        }
    }

    /// Forgets an exit, after waiting for other processes. False if it was not known.
    package func remove(_ key: PublicKey) throws -> Bool {
        try self.change(waits: true) {
            guard let index = self.keys.firstIndex(of: key) else { return false }
            self.keys.remove(at: index)
            return true
        }
    }

    private func read() throws {
        guard let path, FileManager.default.fileExists(atPath: path) else {
            if self.path != nil { self.keys = [] }
            return
        }
        let changed = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
        guard changed == nil || changed != self.readAt else { return }
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        var keys: [PublicKey] = []
        for (index, line) in text.split(whereSeparator: \.isNewline).prefix(Self.maximumCount).enumerated() {
            // What is damaged must not pass for a shorter list: with an exit that is not on it less may be spoken.
            guard case .npub(let key)? = try? NIP19(String(line)) else {
                throw DamagedFile(description: "\(path), line \(index + 1) is no npub; remove it")
            }
            keys.append(key)
        }
        self.keys = keys
        self.readAt = changed
    }

    private func write() throws {
        guard let path else { return }
        let text = self.keys.map { $0.npub + "\n" }.joined()
        _ = close(try StateFile.replace(path, with: Array(text.utf8)))
        self.readAt = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
    }
}
