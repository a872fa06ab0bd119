//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Nostr
import NostrCrypto
import Tunnel
import TunnelProtocol

/// `nws pins`
struct PinsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pins",
        abstract: "List and remove pinned exits.",
        discussion: """
            An entry pins each exit that it had a session with. A pinned exit is never downgraded to plain NIP-74, \
            so relays cannot force a downgrade by withholding its answers. Remove the pin if the exit was replaced \
            by a program that supports only plain NIP-74. A running entry picks up the change.
            """,
        subcommands: [List.self, Remove.self]
    )

    private static func pins() throws -> ExitPins {
        do {
            return try ExitPins(path: KeyFile.stateFolder() + "/" + StateFolder.pins)
        } catch {
            throw CommandError.failure("cannot read pinned exits: \(error)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the npub of each pinned exit.")

        func run() async throws {
            try await reportingErrors {
                for key in try PinsCommand.pins().all { Console.line(key.npub) }
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Remove the pin of an exit.")

        @Argument(help: "The exit: an alias, .nostr name, npub, nprofile or 64 hex digits.")
        var exit: String

        func run() async throws {
            try await reportingErrors {
                let key = try PublicKey(userText: self.exit) ?? NostrName(argument: self.exit).publicKey
                let removed: Bool
                do {
                    removed = try PinsCommand.pins().remove(key)
                } catch {
                    throw CommandError.failure("cannot save pinned exits: \(error)")
                }
                guard removed else { throw CommandError.failure("\(key.npub) is not pinned") }
            }
        }
    }
}
