//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import Nostr
import Tunnel
import TunnelProtocol

/// `nws ping`
struct PingCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ping",
        abstract: "Measure latency to an exit and its service.",
        discussion: """
            Opens and closes streams to a service. Prints the time until each was open, the protocol that the exit \
            uses, the round-trip time and packet loss of each relay, and the direct path or the reason why there is \
            none. The exit status is 1 if no stream could be opened, or if the exit did not answer. Plain NIP-74 has no answer to a request; with --protocol nip74 a \
            request that was sent counts.
            """
    )

    @Argument(
        help: ArgumentHelp(
            "An alias, .nostr name, npub or nprofile, and optionally a port. Default: 80, or the first known service of an alias that has no port 80.",
            valueName: "name[:port]"
        )
    )
    var target: String

    @Option(help: ArgumentHelp("Number of attempts.", valueName: "count"))
    var count = 5

    @OptionGroup var entry: EntryOptions

    @Option(help: "Minimum level of log messages: trace, debug, info, notice, warning, error.")
    var logLevel: CommonOptions.LogLevel = .error

    /// The pause between attempts.
    private static let pause: Duration = .milliseconds(200)

    func validate() throws {
        guard (1...1_000).contains(self.count) else { throw ValidationError("--count must be between 1 and 1000.") }
    }

    func run() async throws {
        try await reportingErrors {
            let logger = Logger.console("nws.ping", self.logLevel.level)
            var configuration = try self.entry.configuration(Settings(), logger: logger)
            configuration.servesProxy = false
            // Each attempt is to reach the exit.
            configuration.session.opensRecentAtOnce = false
            // The user has named the targets.
            configuration.identityExits = nil
            // A key on the command line takes the place of the one that nws join has made.
            if self.entry.hasIdentityArgument { configuration.identities = [:] }
            let target = try TargetAddress(
                self.target,
                source: self.target,
                allowsHosts: configuration.hasExitForHosts,
                defaultPort: try Self.defaultPort(self.target)
            )
            let protocolChoice = configuration.protocolChoice
            let service = try await EntryOptions.start(configuration, logger: logger)
            var times: [Double] = []
            for number in 1...self.count {
                do {
                    let time = Double(try await service.probe(target).nanoseconds) / 1_000_000
                    times.append(time)
                    let isOpen = try await service.status().peers.contains(where: \.isSession)
                    Console.line(
                        "\(isOpen ? "open" : "requested"): \(Self.milliseconds(time))\(number == 1 ? " (including connection setup)" : "")"
                    )
                } catch let failure as StreamFailure where failure.hop == .name || failure.hop == .entry {
                    // The name or the configuration of this machine is wrong, so further attempts would fail, too.
                    throw CommandError.failure("\(failure)")
                } catch let failure as StreamFailure {
                    Console.line(Console.printable("failed: \(failure)"))
                }
                if number < self.count { try await Task.sleep(for: Self.pause) }
            }
            let status = try await service.status()
            for relay in status.relays { Console.line(Console.printable(Self.line(relay))) }
            for peer in status.peers {
                if let line = Self.line(peer.direct) { Console.line(Console.printable(line)) }
            }
            let isSession = status.peers.contains(where: \.isSession)
            if !status.peers.isEmpty {
                Console.line(
                    "protocol: \(isSession ? "session" : "nip74, which does not confirm that the exit accepted the stream")"
                )
            }
            if !times.isEmpty {
                let sorted = times.sorted()
                let word = isSession || status.peers.isEmpty ? "opened" : "requested"
                Console.line(
                    "\(word): \(times.count) of \(self.count), min \(Self.milliseconds(sorted[0])), median \(Self.milliseconds(sorted[sorted.count / 2])), max \(Self.milliseconds(sorted[sorted.count - 1]))"
                )
            }
            try await service.stop()
            guard !times.isEmpty else { throw CommandError.failure("no stream could be opened") }
            guard isSession || status.peers.isEmpty || protocolChoice == .nip74 else {
                throw CommandError.failure(
                    "no answer from the exit: it is offline, or this device is not authorized, or it serves only plain NIP-74. If it knows only some devices, \(EntryOptions.text(of: .identity))"
                )
            }
        }
    }

    /// The port to which a name without a port is pinged: 80, or the first service of an alias if it is known and has no 80.
    private static func defaultPort(_ text: String) throws -> UInt16 {
        guard let host = PastedName(text)?.host, let alias = Alias(host) ?? Alias(domain: host),
            let services = try AliasFile.stateFile().entry(alias)?.services, let first = services.first
        else { return 80 }
        return services.contains(80) ? 80 : first
    }

    private static func line(_ direct: DirectStatus?) -> String? {
        switch direct {
        case .path(let path):
            let trip = path.roundTrip.map { " round trip \(Self.milliseconds($0))" } ?? ""
            let loss = path.sentPackets > 0 ? ", lost \(path.lostPackets) of \(path.sentPackets) packets" : ""
            return "direct: \(path.address)\(trip)\(loss)"
        case .none(let reason)?: return "direct: none: \(reason.rawValue)"
        case nil: return nil
        }
    }

    private static func line(_ relay: TunnelStatus.Relay) -> String {
        guard relay.isUp else { return "relay: \(relay.url) down: \(relay.error ?? "connecting")" }
        let trip = relay.roundTrip.map { "round trip \(Self.milliseconds($0))" } ?? "not used"
        let loss =
            relay.sentPackets > 0
            ? ", lost \(relay.lostPackets) of \(relay.sentPackets) packets" : ""
        let limit = relay.limitedRate.map { ", " + StatusText.rateLimit($0) } ?? ""
        return "relay: \(relay.url) \(trip)\(loss)\(limit)"
    }

    private static func milliseconds(_ value: Double) -> String { String(format: "%.1f ms", value) }
}
