//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Nostr
import NostrCrypto
import TunnelProtocol

/// `nws name`
struct NameCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "name",
        abstract: "Encode and decode .nostr names.",
        subcommands: [Encode.self, Decode.self]
    )

    struct Encode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the .nostr name for a public key and relays."
        )

        @Option(name: .long, help: ArgumentHelp("Relay to include in the name; repeat for several.", valueName: "url"))
        var relay: [String] = []

        @Flag(help: "Print an nprofile instead of a name.")
        var nprofile = false

        @Argument(help: "The public key: 64 hex digits, npub, nprofile, or an alias.")
        var pubkey: String

        func run() async throws {
            try await reportingErrors {
                let name = try self.name()
                if self.nprofile {
                    Console.line(name.nprofile)
                    return
                }
                for relay in name.relaysLeftOut {
                    Console.error(
                        "nws: \(relay) was left out because it does not fit in the name; an nprofile can contain it (--nprofile)"
                    )
                }
                guard name.hasUsableText else {
                    throw CommandError.failure("a name has no room for any of the relays; use --nprofile")
                }
                Console.line(name.encoded)
            }
        }

        /// The name of the public key and the relays.
        func name() throws -> NostrName {
            let pasted = PastedName(self.pubkey)?.host ?? self.pubkey
            guard let key = PublicKey(userText: pasted) else {
                // An alias or a name, which has relays.
                if let known = try? NostrName(argument: self.pubkey) {
                    let relays = try self.relay.map { try Settings.relay($0, source: "--relay") }
                    return NostrName(publicKey: known.publicKey, relays: relays.isEmpty ? known.relays : relays)
                }
                if case .nsec? = try? NIP19(self.pubkey) {
                    throw CommandError.failure("this is a SECRET key (nsec); use the public key (npub)")
                }
                throw CommandError.failure("not a public key; expected 64 hex digits, an npub, an nprofile or an alias")
            }
            var relays = try self.relay.map { try Settings.relay($0, source: "--relay") }
            if relays.isEmpty, case .nprofile(_, let listed)? = try? NIP19(pasted) {
                relays = listed.compactMap { try? RelayURL($0) }
            }
            return NostrName(publicKey: key, relays: relays)
        }
    }

    struct Decode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the public key and relays of a name."
        )

        @Argument(help: "A .nostr name, npub or nprofile.")
        var name: String

        func run() async throws {
            try await reportingErrors {
                // Only what the name itself contains, unless it is an alias.
                let pasted = PastedName(self.name)?.host ?? self.name
                let name = try (try? NostrName(pasted)) ?? NostrName(argument: self.name)
                for label in name.ignoredLabels {
                    Console.error(
                        "nws: ignored \(Console.printable(String(label.prefix(64)))), which is not a relay URL"
                    )
                }
                Console.line("pubkey: \(name.publicKey.hex)")
                for relay in name.relays {
                    Console.line("relay: \(relay)")
                }
            }
        }
    }
}
