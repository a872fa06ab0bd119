//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import NostrCrypto
import SettingsFiles
import Tunnel

/// A file with the public keys of clients that an exit authorizes, and with invites.
struct AuthorizedKeysFile {
    let path: String

    /// Maximum size of the file in bytes.
    static let maximumLength = 16 << 20

    var exists: Bool { FileManager.default.fileExists(atPath: self.path) }

    func read() throws -> AuthorizedKeys {
        let text = try self.text()
        do {
            return try AuthorizedKeys(parsing: text)
        } catch {
            throw CommandError.configuration("\(self.path), \(error)")
        }
    }

    private func text() throws -> String {
        try CommandError.explainingFiles { try FileOwnership.checkNotWritableByAll(self.path) }
        guard let data = FileManager.default.contents(atPath: self.path) else {
            throw CommandError.configuration(
                self.exists
                    ? "cannot read \(self.path): give the user of this process access to it"
                    : "--allow: \(self.path) must be a public key (npub or 64 hex digits) or a readable file"
            )
        }
        guard data.count <= Self.maximumLength, let text = String(data: data, encoding: .utf8) else {
            throw CommandError.configuration("\(self.path): must be UTF-8 text of at most \(Self.maximumLength) bytes")
        }
        return text
    }

    /// Changes the file. Only one process at a time does so, and an exit never reads a partial file.
    ///
    /// - Parameter change: Changes the lines.
    /// - Returns: The result of `change`.
    func edit<Result>(_ change: (inout [String]) throws -> Result) throws -> Result {
        let target = try self.target()
        do {
            try KeyFile.makeFolder(URL(filePath: target).deletingLastPathComponent().path)
            return try StateFile.exclusively(target, waits: true) {
                let before = self.exists ? try self.text() : ""
                // An editor may have ended the lines with CR LF, which is one character in Swift.
                var lines = before.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(String.init)
                if lines.last == "" { lines.removeLast() }
                let unchanged = lines
                let result = try change(&lines)
                guard lines != unchanged || !self.exists else { return result }
                let after = lines.map { $0 + "\n" }.joined()
                _ = try AuthorizedKeys(parsing: after)
                let mode = try? FileManager.default.attributesOfItem(atPath: target)[.posixPermissions] as? Int
                try StateFile.save(Array(after.utf8), to: target, mode: UInt32(mode ?? 0o600))
                return result
            }
        } catch let error as CommandError {
            throw CommandError.failure(error.message)
        } catch let error as AuthorizedKeys.ParsingError {
            throw CommandError.failure("\(self.path), \(error)")
        } catch let error as IOError {
            throw CommandError.failure(
                "cannot write \(self.path): \(unsafe String(cString: strerror(error.errnoCode)))"
            )
        }
    }

    /// The file to replace. If the path is a symbolic link, its target is replaced and the link stays, but not if another user
    /// than this process or root could have made the link.
    private func target() throws -> String {
        let resolved = URL(filePath: self.path).resolvingSymlinksInPath().path
        let folder = URL(filePath: self.path).deletingLastPathComponent().path
        let owner = try? FileManager.default.attributesOfItem(atPath: folder)[.ownerAccountID] as? Int
        let isLink = (try? FileManager.default.destinationOfSymbolicLink(atPath: self.path)) != nil
        guard isLink, let owner, owner != 0, owner != Int(geteuid()) else { return resolved }
        throw CommandError.failure(
            "\(self.path) is a symbolic link in a folder of another user; name its target instead"
        )
    }

    /// Adds a line. Fails if the file already contains the key.
    func add(_ line: AuthorizedKeysLine) throws {
        try self.edit { lines in
            if case .key(let key, _) = line, Self.index(of: key, in: lines) != nil {
                throw CommandError.failure(
                    "\(self.path) already contains this key; edit its line to change its options"
                )
            }
            lines.append(line.text)
        }
    }

    /// The position of the line with a key.
    static func index(of key: PublicKey, in lines: [String]) -> Int? {
        lines.firstIndex { text in
            if case .key(key, _)? = Self.parse(text) { true } else { false }
        }
    }

    /// The line as it is understood. Nil for an empty line, a comment and an invalid line.
    static func parse(_ text: String) -> AuthorizedKeysLine? {
        let trimmed = text.trimmingPrefix { $0.isWhitespace }
        guard !trimmed.isEmpty, trimmed.first != "#" else { return nil }
        return try? AuthorizedKeysLine(parsing: trimmed)
    }
}
