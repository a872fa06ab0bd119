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

/// The exits that are known to support sessions.
///
/// The entry never falls back to plain NIP-74 with these exits, so a relay cannot force a downgrade by dropping
/// acceptances.
///
/// The file begins with a comment and contains one npub per line. An empty file is an error: it was probably cut off, and
/// exits that are missing from it could be downgraded. Only its owner can read it, because it reveals which exits the user visits.
/// Lines can be removed while an entry runs: it reads the file again after a change.
package final class ExitPins {
    /// Maximum number of exits in the file.
    package static let maximumCount = 10_000

    private let path: String?
    private var keys: [PublicKey] = []
    /// Exits that could not be written to the file. They are pinned until the process ends.
    private var unsaved: Set<PublicKey> = []
    private var version: FileVersion?

    /// Reads the file.
    ///
    /// - Parameter path: The file; nil to keep the pins only in memory.
    /// - Throws: ``DamagedStateFile``, or the system's error if the file exists but cannot be read.
    package init(path: String?) throws {
        self.path = path
        try self.read()
    }

    /// The public keys of all pinned exits.
    package var all: [PublicKey] { self.keys }

    /// Returns whether an exit is pinned, after reading the file again if it changed.
    package func contains(_ key: PublicKey) -> Bool {
        // If the file cannot be read, the known pins stay valid.
        try? self.read()
        return self.keys.contains(key) || self.unsaved.contains(key)
    }

    /// Whether there is no room for another exit.
    package var isFull: Bool { self.keys.count >= Self.maximumCount }

    /// Adds an exit. Returns false if the maximum is reached.
    ///
    /// - Throws: `EWOULDBLOCK` if another process has locked the file, or another error of the file.
    package func insert(_ key: PublicKey) throws -> Bool {
        try self.read()
        guard !self.keys.contains(key) else { return true }
        if self.unsaved.count < Self.maximumCount { self.unsaved.insert(key) }
        let isSaved = try self.change(waits: false) {
            guard self.keys.count < Self.maximumCount else { return false }
            // Also those that could not be written before.
            for unsaved in self.unsaved.union([key])
            where !self.keys.contains(unsaved) && self.keys.count < Self.maximumCount {
                self.keys.append(unsaved)
            }
            return true
        }
        if isSaved { self.unsaved.subtract(self.keys) }
        return isSaved
    }

    /// Reads, changes and writes the file while holding its lock.
    private func change(waits: Bool, _ body: () -> Bool) throws -> Bool {
        guard let path else { return body() }
        return try StateFile.exclusively(path, waits: waits) {
            self.version = nil
            try self.read()
            guard body() else { return false }
            try self.write()
            return true
        }
    }

    /// Removes an exit. Waits while another process has locked the file. Returns false if the exit is not pinned.
    package func remove(_ key: PublicKey) throws -> Bool {
        try self.change(waits: true) {
            guard let index = self.keys.firstIndex(of: key) else { return false }
            self.keys.remove(at: index)
            return true
        }
    }

    private func read() throws {
        guard let path else { return }
        guard let version = try FileVersion(of: path) else {
            self.version = nil
            self.keys = []
            return
        }
        guard version != self.version else { return }
        let text = String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
        guard !text.isEmpty else {
            throw DamagedStateFile(description: "\(path): empty; remove the file to start without pins")
        }
        var keys: [PublicKey] = []
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        for (index, line) in lines.enumerated()
        where !line.isEmpty && line.first != "#" && keys.count < Self.maximumCount {
            // Do not skip invalid lines: an exit that is missing from the list could be downgraded to plain NIP-74.
            guard case .npub(let key)? = try? NIP19(String(line)) else {
                throw DamagedStateFile(description: "\(path):\(index + 1): not an npub; remove this line")
            }
            keys.append(key)
        }
        self.keys = keys
        self.version = version
    }

    private func write() throws {
        guard let path else { return }
        let text = "# Exits that support sessions (nws pins)\n" + self.keys.map { $0.npub + "\n" }.joined()
        _ = close(try StateFile.replace(path, with: Array(text.utf8)))
        self.version = try FileVersion(of: path)
    }
}
