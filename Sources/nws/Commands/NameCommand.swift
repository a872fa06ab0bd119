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
        abstract: "Make and take apart .nostr names.",
        subcommands: [Encode.self, Decode.self]
    )

    struct Encode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the .nostr name of a public key and its relays."
        )

        @Option(name: .long, help: ArgumentHelp("Relay to put into the name; repeat for several.", valueName: "url"))
        var relay: [String] = []

        @Flag(help: "Print an nprofile instead.")
        var nprofile = false

        @Argument(help: "64 hex digits, npub or nprofile.")
        var pubkey: String

        func run() async throws {
            try await reportingErrors {
                guard let key = PublicKey(userText: self.pubkey) else {
                    if case .nsec? = try? NIP19(self.pubkey) {
                        throw CommandError.failure("that is a SECRET key (nsec); a name is made of the public key")
                    }
                    throw CommandError.failure("not a public key (64 hex digits, npub or nprofile on the curve)")
                }
                var relays = try self.relay.map { try Settings.relay($0, source: "--relay") }
                if relays.isEmpty, case .nprofile(_, let listed)? = try? NIP19(self.pubkey) {
                    relays = listed.compactMap { try? RelayURL($0) }
                }
                let name = NostrName(publicKey: key, relays: relays)
                if self.nprofile {
                    Console.line(name.nprofile)
                    return
                }
                for relay in name.relaysLeftOut {
                    Console.error(
                        "nws: \(relay) does not fit a name and is left out; the nprofile carries it (--nprofile)"
                    )
                }
                Console.line(name.encoded)
            }
        }
    }

    struct Decode: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print the key and the relays of a name, or what is wrong with it."
        )

        @Argument(help: "A .nostr name, npub or nprofile.")
        var name: String

        func run() async throws {
            try await reportingErrors {
                let name = try NostrName(argument: self.name)
                for label in name.ignoredLabels {
                    Console.error(
                        "nws: \(Console.printable(String(label.prefix(64)))) is not the URL of a relay and is ignored"
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
