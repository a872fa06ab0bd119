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
        discussion: """
            Prints 'exit: NAME' for each whose announcement is signed and has not lapsed, the newest first, and when it \
            announced itself. With --measure also how long it took to answer an offer of a session.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to ask; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Flag(help: "Begin a session with each, and say how long that took.")
    var measure = false

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
            let exits = answer.events.compactMap { event -> ExitAnnouncement? in
                guard let exit = ExitAnnouncement(event, foundOn: answer.answered.first, now: now),
                    seen.insert(exit.publicKey).inserted
                else { return nil }
                return exit
            }
            for exit in exits {
                let name = NostrName(publicKey: exit.publicKey, relays: exit.relays)
                var line = "exit: \(name.encoded)  announced \(max(0, now - exit.createdAt)) s ago"
                if self.measure { line += ", \(try await self.measured(name, logger: logger))" }
                Console.line(line)
            }
            if exits.isEmpty { Console.error("nws: no public exit announces itself there") }
        }
    }

    /// Asks the exit for a stream, whether it lets it be or not: a session with it shows how far away it is.
    private func measured(_ name: NostrName, logger: Logger) async throws -> String {
        var configuration = EntryConfiguration()
        configuration.relayClient = try self.relayClient.configuration()
        configuration.servesProxy = false
        let service = try await EntryService.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: logger
        )
        let refusal: StreamFailure?
        do {
            _ = try await service.probe(TargetAddress(host: .domain(name.encoded), port: 80))
            refusal = nil
        } catch let failure as StreamFailure {
            refusal = failure
        }
        let trip = try await service.status().relays.compactMap(\.roundTrip).min()
        try await service.stop()
        guard let trip else { return "no session: \(refusal?.reason ?? "it speaks only NIP-74")" }
        return String(format: "round trip %.1f ms", trip)
    }
}
