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
        abstract: "List the public exits announced on relays.",
        discussion: """
            Prints 'exit: NAME' and the age of the announcement for each valid announcement, newest first. With \
            --measure also prints the round-trip time to each exit.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to query; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Flag(help: "Start a session with each exit and print the round-trip time.")
    var measure = false

    @OptionGroup var relayClient: RelayClientOptions

    private static let timeout: TimeAmount = .seconds(10)

    func run() async throws {
        try await reportingErrors {
            let relays = try Settings().relays(self.relay)
            guard !relays.isEmpty else {
                throw CommandError.configuration("no relay configured: use --relay URL, or set NOSTR_RELAYS")
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
                    Console.printable("nws: \(url) did not respond: \(answer.reasons[url] ?? "timed out")")
                )
            }
            guard !answer.answered.isEmpty else { throw CommandError.failure("no relay responded") }
            var seen: Set<PublicKey> = []
            let now = Int64(Date().timeIntervalSince1970)
            let exits = answer.events.compactMap { event -> ExitAnnouncement? in
                guard let exit = ExitAnnouncement(event, foundOn: answer.answered.first, now: now),
                    seen.insert(exit.publicKey).inserted
                else { return nil }
                return exit
            }
            for start in stride(from: 0, to: exits.count, by: Self.maximumConcurrentMeasurements) {
                let some = exits[start..<min(start + Self.maximumConcurrentMeasurements, exits.count)]
                let distances = self.measure ? try await self.distances(of: some, logger: logger) : [:]
                for exit in some {
                    let distance = distances[exit.publicKey].map { ", \($0)" } ?? ""
                    Console.line(
                        "exit: \(exit.name.encoded)  announced \(max(0, now - exit.createdAt)) s ago\(distance)"
                    )
                }
            }
            if exits.isEmpty { Console.error("nws: no public exits found on these relays") }
        }
    }

    /// Maximum number of exits that are measured at the same time. Measuring one at a time would be slow, because exits
    /// that do not answer time out.
    private static let maximumConcurrentMeasurements = 8

    private func distances(
        of exits: ArraySlice<ExitAnnouncement>,
        logger: Logger
    ) async throws -> [PublicKey: String] {
        try await withThrowingTaskGroup(of: (PublicKey, String).self) { group in
            for exit in exits {
                group.addTask { (exit.publicKey, try await self.measured(exit.name, logger: logger)) }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
    }

    /// Starts a session with an exit by requesting a stream, and returns the round-trip time of the session.
    ///
    /// The exit may reject the stream; the session is sufficient.
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
        guard let trip else { return "no session: \(refusal?.reason ?? "the exit supports only plain NIP-74")" }
        return String(format: "round trip %.1f ms", trip)
    }
}
