//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import Tunnel
import TunnelProtocol

/// `nws cert`
struct CertCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cert",
        abstract: "Fetch, verify and print the certificate of an exit.",
        discussion: """
            Fetches the certificate from the relays of the name, and verifies that the exit signed it and that it is \
            valid only for names of the exit. Prints it as PEM, so that clients can verify an exit that terminates TLS:

              curl --cacert <(nws cert NAME) --proxy socks5h://127.0.0.1:8882 https://NAME/
            """
    )

    @Option(
        help: ArgumentHelp("Relay to use if the name has none. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Argument(help: "An alias, .nostr name, npub or nprofile.")
    var name: String

    @OptionGroup var relayClient: RelayClientOptions

    /// Maximum time to connect to a relay and receive its response.
    private static let timeout: TimeAmount = .seconds(10)

    func run() async throws {
        try await reportingErrors {
            let name = try NostrName(argument: self.name)
            let relays = name.relays.isEmpty ? try Settings().relays(self.relay) : name.relays
            guard !relays.isEmpty else {
                throw CommandError.failure("the name has no relays: use --relay URL, or set NOSTR_RELAYS")
            }
            let logger = Logger.console("nws.cert", .error)
            let answer = try await EventFetcher.fetch(
                Filter(authors: [name.publicKey], kinds: [.exitCertificate], limit: 1),
                from: relays,
                // The command runs on the user's own machine, where local relays are legitimate.
                policy: .untrustedAllowingLocal,
                configuration: self.relayClient.configuration(),
                timeout: Self.timeout,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
            Console.line(try Self.certificate(answer, of: name), terminator: "")
        }
    }

    private static func certificate(_ answer: EventFetcher.Answer, of name: NostrName) throws -> String {
        var reason: ExitCertificate.VerificationError?
        for event in answer.events {
            do {
                let pem = try ExitCertificate.verified(event, of: name.publicKey, now: Date())
                return pem.hasSuffix("\n") ? pem : pem + "\n"
            } catch {
                reason = reason ?? error
            }
        }
        if let reason { throw CommandError.failure("the published certificate is invalid: \(reason)") }
        guard !answer.answered.isEmpty else {
            throw CommandError.failure(
                "no relay responded: \(answer.unreachable.map { "\($0) (\(answer.reasons[$0] ?? "no answer"))" }.joined(separator: ", "))"
            )
        }
        throw CommandError.failure("no certificate found for this exit; check that it runs with --tls")
    }
}
