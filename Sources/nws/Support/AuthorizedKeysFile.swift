//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NostrCrypto
import SettingsFiles
import Tunnel

/// A file with the public keys of clients that an exit authorizes.
struct AuthorizedKeysFile {
    let path: String

    /// Maximum size of the file in bytes.
    static let maximumLength = 16 << 20

    func read() throws -> AuthorizedKeys {
        try CommandError.explainingFiles { try FileOwnership.checkNotWritableByAll(self.path) }
        guard let data = FileManager.default.contents(atPath: self.path) else {
            throw CommandError.configuration(
                "--allow: \(self.path) must be a public key (npub or 64 hex digits) or a readable file"
            )
        }
        return try Self.parse(data, path: self.path)
    }

    private static func parse(_ data: Data, path: String) throws -> AuthorizedKeys {
        guard data.count <= Self.maximumLength, let text = String(data: data, encoding: .utf8) else {
            throw CommandError.configuration("\(path): must be UTF-8 text of at most \(Self.maximumLength) bytes")
        }
        do {
            return try AuthorizedKeys(parsing: text)
        } catch {
            throw CommandError.configuration("\(path), \(error)")
        }
    }

    /// Adds a line. The file is replaced atomically, so that an exit never reads a partial file.
    func add(_ line: String, _ key: PublicKey) throws {
        var text = ""
        if FileManager.default.fileExists(atPath: self.path) {
            guard let data = FileManager.default.contents(atPath: self.path) else {
                throw CommandError.failure("cannot read \(self.path), so the key was not added; check its permissions")
            }
            guard try Self.parse(data, path: self.path).grants[key] == nil else {
                throw CommandError.failure(
                    "\(self.path) already contains this key; edit its line to change its options"
                )
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
            // If the path is a symbolic link, replace its target and keep the link.
            let file = URL(filePath: self.path).resolvingSymlinksInPath()
            let mode = try? FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions]
            try KeyFile.makeFolder(file.deletingLastPathComponent().path)
            try Data(text.utf8).write(to: file, options: .atomic)
            try FileManager.default.setAttributes([.posixPermissions: mode ?? 0o600], ofItemAtPath: file.path)
        } catch {
            throw CommandError.failure("cannot write \(self.path): \(errorReason(error))")
        }
    }
}
