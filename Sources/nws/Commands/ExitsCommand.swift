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

/// `nws exits`
struct ExitsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exits",
        abstract: "List the public exits that announce themselves on relays.",
        discussion: "Prints 'exit: NAME' for each whose announcement is signed and has not lapsed, the newest first."
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to ask; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @OptionGroup var relayClient: RelayClientOptions

    private static let timeout: TimeAmount = .seconds(10)

    func run() async throws {
        try await reportingErrors {
            let relays = try Settings().relays(self.relay)
            guard !relays.isEmpty else {
                throw CommandError.configuration("no relay: give --relay URL, or set NOSTR_RELAYS")
            }
            let logger = Logger.console("nws.exits", .error)
            let answer = try await EventFetcher.fetch(
                Filter(kinds: [.exitAnnouncement], limit: 100),
                from: relays,
                policy: .configured,
                configuration: self.relayClient.configuration(),
                timeout: Self.timeout,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
            for url in answer.unreachable {
                Console.error(
                    Console.printable("nws: \(url) could not be asked: \(answer.reasons[url] ?? "no answer")")
                )
            }
            guard !answer.answered.isEmpty else { throw CommandError.failure("no relay could be asked") }
            var seen: Set<PublicKey> = []
            let now = Int64(Date().timeIntervalSince1970)
            for event in answer.events {
                guard let exit = ExitAnnouncement(event, foundOn: answer.answered.first, now: now),
                    seen.insert(exit.publicKey).inserted
                else { continue }
                Console.line("exit: \(NostrName(publicKey: exit.publicKey, relays: exit.relays).encoded)")
            }
            if seen.isEmpty { Console.error("nws: no public exit announces itself there") }
        }
    }
}
