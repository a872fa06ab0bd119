//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Nostr
import NostrCrypto

/// `nws key`
struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Make and show keys.",
        subcommands: [Generate.self, Show.self, Authorize.self]
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

    struct Authorize: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add a client's key to a file for nws exit --allow.",
            discussion: """
                Makes the file if need be, and never repeats a key. A running exit reads it again by itself. To take a \
                permission back, remove its line.
                """
        )

        @Option(help: ArgumentHelp("Ports of the services it may use, as in 22,80; all of them by default."))
        var services: String?

        @Option(help: ArgumentHelp("Day (UTC) from which on it may not any more, as in 2027-01-31.", valueName: "date"))
        var expires: String?

        @Option(help: "Whose key it is, for people.")
        var comment: String?

        @Argument(help: "The file.")
        var file: String

        @Argument(help: "The client's public key: npub or 64 hex digits.")
        var pubkey: String

        /// As `--expires` writes days, which compare as texts.
        private static func today() -> String {
            String(ISO8601DateFormatter().string(from: Date()).prefix(10))
        }

        func run() async throws {
            try await reportingErrors {
                guard let key = PublicKey(userText: self.pubkey) else {
                    if case .nsec? = try? NIP19(self.pubkey) {
                        throw CommandError.failure(
                            "that is a SECRET key (nsec); its owner keeps it, and gives you the npub"
                        )
                    }
                    throw CommandError.failure("not a public key (npub or 64 hex digits on the curve)")
                }
                var options: [String] = []
                if let services {
                    let ports = services.split(separator: ",", omittingEmptySubsequences: false).map { UInt16($0) }
                    guard ports.allSatisfy({ $0 ?? 0 > 0 }) else {
                        throw CommandError.failure("--services: expected ports, as in 22,80")
                    }
                }
                if let expires, expires <= Self.today() {
                    throw CommandError.failure("--expires: from \(expires) on (UTC) it would be none: that is over")
                }
                if let services { options.append("services=\"\(services)\"") }
                if let expires { options.append("expires=\"\(expires)\"") }
                let comment = self.comment.map { $0.split { $0.isWhitespace }.joined(separator: " ") }
                let line = [options.joined(separator: ","), key.npub, comment ?? ""].filter { !$0.isEmpty }
                    .joined(separator: " ")
                let file = AuthorizedKeysFile(path: self.file)
                try file.add(line, key)
                Console.line("authorized: \(line)")
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
