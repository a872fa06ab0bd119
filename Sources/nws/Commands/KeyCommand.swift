//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Nostr
import NostrCrypto
import Tunnel
import TunnelProtocol

/// The command `nws key`: creates, shows and authorizes keys.
struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Create, show and authorize keys.",
        subcommands: [Generate.self, Show.self, Authorize.self]
    )

    struct Generate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create a secret key in a file that only you can read.",
            discussion: "Existing files are never overwritten. Prints the public key."
        )

        @Option(help: ArgumentHelp("File to create. Default: the key in the state folder.", valueName: "file"))
        var keyFile: String?

        func run() async throws {
            try await reportingErrors {
                let file = self.keyFile.map(KeyFile.init) ?? .stateFile()
                guard !file.exists else {
                    throw CommandError.configuration("\(file.path) already exists and was not overwritten")
                }
                let key = try file.create()
                Console.line("pubkey: \(key.publicKey.hex)")
                Console.line("npub: \(key.publicKey.npub)")
                Console.line("file: \(file.path)")
            }
        }
    }

    struct Authorize: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Authorize a client in a file for nws exit --allow.",
            discussion: """
                Creates the file if it does not exist, and fails if the file already contains the key. A running exit \
                reloads the file when it changes. To revoke access, remove the line.
                """
        )

        @Option(help: ArgumentHelp("Ports that the client may use, for example 22,80. Default: all ports."))
        var services: String?

        @Option(
            help: ArgumentHelp(
                "First day (UTC) on which the key is no longer valid, for example 2027-01-31.",
                valueName: "date"
            )
        )
        var expires: String?

        @Option(help: "Comment that describes the client.")
        var comment: String?

        @Argument(help: "File to add the key to.")
        var file: String

        @Argument(help: "The client's public key: npub or 64 hex digits.")
        var pubkey: String

        func run() async throws {
            try await reportingErrors { Console.line("authorized: \(try self.authorize())") }
        }

        /// Adds the client to the file.
        ///
        /// - Returns: The line that was added.
        func authorize() throws -> String {
            guard let key = PublicKey(userText: PastedName(self.pubkey)?.host ?? self.pubkey) else {
                if case .nsec? = try? NIP19(self.pubkey) {
                    throw CommandError.failure(
                        "this is a SECRET key (nsec), which its owner should never share; ask for the npub instead"
                    )
                }
                throw CommandError.failure("PUBKEY: needs a public key, as an npub or 64 hex digits")
            }
            var grant = AuthorizedKeys.Grant(comment: self.comment ?? "")
            grant.services = try self.services.map { try DeviceServices($0, option: "--services").ports }
            if let expires {
                guard let date = AuthorizedKeysLine.date(expires) else {
                    throw CommandError.failure("--expires: \(expires): needs a date, for example 2027-01-31")
                }
                guard date > Int64(Date().timeIntervalSince1970) else {
                    throw CommandError.failure("--expires: the expiry date \(expires) (UTC) has passed")
                }
                grant.expires = date
            }
            let line = AuthorizedKeysLine.key(key, grant)
            try AuthorizedKeysFile(path: self.file).add(line)
            return line.text
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a public key, and with --secret also the secret key.",
            discussion: "If the relays of the exit are known, also prints its name and nprofile."
        )

        @Option(
            help: ArgumentHelp(
                "File with the secret key. Default: [NOSTR_PRIVATE_KEY], else the key in the state folder.",
                valueName: "file"
            )
        )
        var keyFile: String?

        @Option(
            parsing: .upToNextOption,
            help: ArgumentHelp(
                "Relay of the exit; repeat for several. Default: [NOSTR_RELAYS, separated by ;], else those of nws share.",
                valueName: "url"
            )
        )
        var relay: [String] = []

        @Flag(help: "Also print the secret key. Anyone who has it can impersonate you.")
        var secret = false

        func run() async throws {
            try await reportingErrors {
                let key: SecretKey
                if let path = self.keyFile {
                    key = try KeyFile(path: path).read()
                } else if let text = try Settings()["NOSTR_PRIVATE_KEY"] {
                    key = try KeyFile.parse(text, source: "NOSTR_PRIVATE_KEY")
                } else {
                    let file = KeyFile.stateFile()
                    guard file.exists else {
                        throw CommandError.configuration(
                            "no key in the state folder; create one with: nws key generate"
                        )
                    }
                    key = try file.read()
                }
                Console.line("pubkey: \(key.publicKey.hex)")
                Console.line("npub: \(key.publicKey.npub)")
                let name = try self.name(of: key.publicKey)
                if !name.relays.isEmpty {
                    if name.hasUsableText { Console.line("name: \(name.encoded)") }
                    Console.line("nprofile: \(name.nprofile)")
                }
                if self.secret {
                    let bytes = try key.exposeBytes()
                    Console.line("secret: \(bytes.hex)")
                    Console.line("nsec: \(NIP19.nsec(bytes).encoded)")
                }
            }
        }

        /// The key with the relays of the exit, as far as they are known.
        private func name(of key: PublicKey) throws -> NostrName {
            let relays = try Settings().relays(self.relay)
            if relays.isEmpty, let shared = try ShareState.read()?.name, shared.publicKey == key { return shared }
            return NostrName(publicKey: key, relays: relays)
        }
    }
}
