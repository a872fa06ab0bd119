//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Nostr
import NostrCrypto

/// `nws key`
struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Make and show keys.",
        subcommands: [Generate.self, Show.self]
    )

    struct Generate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a fresh secret key in a file that only you can read.",
            discussion: "Never overwrites a file. Prints the public key."
        )

        @Option(help: ArgumentHelp("File to make; by default the key in the state folder.", valueName: "file"))
        var keyFile: String?

        func run() async throws {
            try await reportingErrors {
                let file = self.keyFile.map(KeyFile.init) ?? .stateFile()
                guard !file.exists else {
                    throw CommandError.configuration("\(file.path) is there already; keys are never overwritten")
                }
                let key = try file.create()
                Console.line("pubkey: \(key.publicKey.hex)")
                Console.line("npub: \(key.publicKey.npub)")
                Console.line("file: \(file.path)")
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a key: its public side, and the secret only when asked for."
        )

        @Option(
            help: ArgumentHelp(
                "File to read. Without it: [NOSTR_PRIVATE_KEY], else the key in the state folder.",
                valueName: "file"
            )
        )
        var keyFile: String?

        @Flag(help: "Show the secret key too. Whoever sees it can be you.")
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
                        throw CommandError.configuration("there is no key yet; make one with: nws key generate")
                    }
                    key = try file.read()
                }
                Console.line("pubkey: \(key.publicKey.hex)")
                Console.line("npub: \(key.publicKey.npub)")
                if self.secret {
                    let bytes = try key.exposeBytes()
                    Console.line("secret: \(bytes.hex)")
                    Console.line("nsec: \(NIP19.nsec(bytes).encoded)")
                }
            }
        }
    }
}
