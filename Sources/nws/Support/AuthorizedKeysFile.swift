//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NostrCrypto
import Tunnel

/// A file with the keys that an exit admits.
struct AuthorizedKeysFile {
    let path: String

    /// Longest file that is read.
    static let maximumLength = 16 << 20

    func read() throws -> AuthorizedKeys {
        guard let data = FileManager.default.contents(atPath: self.path) else {
            throw CommandError.configuration(
                "--allow: \(self.path) is neither a public key (npub, hex) nor a file that can be read"
            )
        }
        return try Self.parse(data, path: self.path)
    }

    private static func parse(_ data: Data, path: String) throws -> AuthorizedKeys {
        guard data.count <= Self.maximumLength, let text = String(data: data, encoding: .utf8) else {
            throw CommandError.configuration("\(path) is no text of at most \(Self.maximumLength) bytes")
        }
        do {
            return try AuthorizedKeys(parsing: text)
        } catch {
            throw CommandError.configuration("\(path), \(error)")
        }
    }

    /// Adds a line, and writes the file anew in one step, so that an exit never reads half of it.
    func add(_ line: String, _ key: PublicKey) throws {
        var text = ""
        if FileManager.default.fileExists(atPath: self.path) {
            guard let data = FileManager.default.contents(atPath: self.path) else {
                throw CommandError.failure("cannot read \(self.path), so nothing was added to it")
            }
            guard try Self.parse(data, path: self.path).grants[key] == nil else {
                throw CommandError.failure("\(self.path) has that key already; edit its line to change what it may do")
            }
            text = String(decoding: data, as: UTF8.self)
            if !text.isEmpty, !text.hasSuffix("\n") { text += "\n" }
        }
        text += line + "\n"
        do {
            _ = try AuthorizedKeys(parsing: text)
        } catch {
            throw CommandError.failure(error.reason)
        }
        do {
            // What a link points to is replaced, not the link.
            let file = URL(filePath: self.path).resolvingSymlinksInPath()
            let mode = try? FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions]
            try KeyFile.makeFolder(file.deletingLastPathComponent().path)
            try Data(text.utf8).write(to: file, options: .atomic)
            try FileManager.default.setAttributes([.posixPermissions: mode ?? 0o600], ofItemAtPath: file.path)
        } catch {
            throw CommandError.failure("cannot write \(self.path): \(SecretFile.reason(error))")
        }
    }
}
