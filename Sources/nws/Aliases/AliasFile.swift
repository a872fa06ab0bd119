//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrCrypto
import SettingsFiles
import Tunnel
import TunnelProtocol

/// The aliases of a user: short names of exits, such as `home`.
///
/// A line has the form `home nprofile1… services=22,80 source=alice@example.com`. The file is in the state folder.
struct AliasFile {
    let path: String

    /// Maximum size of the file in bytes.
    private static let maximumLength = 1 << 20
    /// Maximum number of aliases.
    static let maximumCount = 1_000

    /// The file in the state folder.
    static func stateFile() -> AliasFile { AliasFile(path: KeyFile.stateFolder() + "/aliases") }

    /// The aliases in the order of the file. Empty if the file does not exist.
    func read() throws -> [AliasEntry] {
        guard FileManager.default.fileExists(atPath: self.path) else { return [] }
        try CommandError.explainingFiles { try FileOwnership.checkNotWritableByAll(self.path) }
        guard let data = FileManager.default.contents(atPath: self.path), data.count <= Self.maximumLength,
            let text = String(data: data, encoding: .utf8)
        else {
            throw CommandError.configuration(
                "\(self.path): must be readable UTF-8 text of at most \(Self.maximumLength) bytes"
            )
        }
        var entries: [AliasEntry] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let trimmed = line.trimmingPrefix { $0.isWhitespace }
            guard !trimmed.isEmpty, trimmed.first != "#" else { continue }
            guard let entry = AliasEntry(line: trimmed) else {
                throw CommandError.configuration(
                    "\(self.path), line \(index + 1): needs an alias and a name, for example: home nprofile1…"
                )
            }
            guard !entries.contains(where: { $0.alias == entry.alias }) else {
                throw CommandError.configuration("\(self.path), line \(index + 1): \(entry.alias) is already in use")
            }
            entries.append(entry)
        }
        guard entries.count <= Self.maximumCount else {
            throw CommandError.configuration("\(self.path): has more than \(Self.maximumCount) aliases")
        }
        return entries
    }

    /// Changes the relays of an exit, in the background. Failing to do so is only logged: the old relays may still work.
    func setRelays(_ relays: [RelayURL], of exit: PublicKey, _ logger: Logger) {
        NIOThreadPool.singleton.submit { state in
            guard case .active = state else { return }
            do {
                try self.edit { entries in
                    for index in entries.indices where entries[index].name.publicKey == exit {
                        entries[index].name = NostrName(
                            publicKey: exit,
                            relays: Array(relays.prefix(EntryConfiguration.maximumRelaysPerName))
                        )
                    }
                }
                logger.info("the exit has changed its relays", metadata: ["exit": "\(exit.npub)"])
            } catch {
                logger.warning("cannot save the changed relays of an exit", metadata: ["error": "\(error)"])
            }
        }
    }

    /// The entry of an alias; nil if there is none.
    func entry(_ alias: Alias) throws -> AliasEntry? { try self.read().first { $0.alias == alias } }

    /// Changes the aliases. Only one process at a time does so. Comments in the file are lost.
    func edit<Result>(_ change: (inout [AliasEntry]) throws -> Result) throws -> Result {
        do {
            try KeyFile.makeFolder(URL(filePath: self.path).deletingLastPathComponent().path)
            return try StateFile.exclusively(self.path, waits: true) {
                var entries = try self.read()
                let before = entries
                let result = try change(&entries)
                guard entries != before else { return result }
                guard entries.count <= Self.maximumCount else {
                    throw CommandError.failure("there are \(Self.maximumCount) aliases already; remove some")
                }
                let text = "# The command nws alias changes this file.\n" + entries.map { $0.line + "\n" }.joined()
                guard text.utf8.count <= Self.maximumLength else {
                    throw CommandError.failure("the aliases take more than \(Self.maximumLength) bytes; remove some")
                }
                try StateFile.save(Array(text.utf8), to: self.path)
                return result
            }
        } catch let error as IOError {
            throw CommandError.failure(
                "cannot write \(self.path): \(unsafe String(cString: strerror(error.errnoCode)))"
            )
        }
    }
}
