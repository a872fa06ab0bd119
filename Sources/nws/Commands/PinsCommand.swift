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
        abstract: "Show and remove the exits that are known to speak sessions.",
        discussion: """
            An entry remembers each exit that answered with a session, and never speaks plain NIP-74 with it again, \
            so that a relay cannot bring that about by hiding answers. Remove one if its exit was replaced by a \
            program that speaks only NIP-74. A running entry notices.
            """,
        subcommands: [List.self, Remove.self]
    )

    private static func pins() throws -> ExitPins {
        do {
            return try ExitPins(path: KeyFile.stateFolder() + "/" + StateFolder.pins)
        } catch {
            throw CommandError.failure("cannot read the pins: \(error)")
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print the npub of each.")

        func run() async throws {
            try await reportingErrors {
                for key in try PinsCommand.pins().all { Console.line(key.npub) }
            }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Forget that an exit speaks sessions.")

        @Argument(help: "A .nostr name, npub, nprofile or 64 hex digits.")
        var exit: String

        func run() async throws {
            try await reportingErrors {
                guard let key = PublicKey(userText: self.exit) ?? (try? NostrName(self.exit))?.publicKey else {
                    throw CommandError.failure("not a .nostr name, npub, nprofile or public key")
                }
                let removed: Bool
                do {
                    removed = try PinsCommand.pins().remove(key)
                } catch {
                    throw CommandError.failure("cannot write the pins: \(error)")
                }
                guard removed else { throw CommandError.failure("\(key.npub) is not pinned") }
            }
        }
    }
}
