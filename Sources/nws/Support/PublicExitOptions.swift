//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Tunnel

/// Options of public exits, which connect to destinations on the internet that clients choose.
struct PublicExitOptions: ParsableArguments {
    @Flag(
        name: .customLong("public"),
        help:
            "Run a public exit: connect to any destination that the rules allow, and announce the exit on its relays. [PUBLIC]"
    )
    var isPublic = false

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "Rule for destinations: 'allow|deny [host NAME|*.NAME] [cidr NETWORK] [port PORT[-PORT][,…]]'. The first matching rule applies; repeat for several. Without a matching rule, common ports on public addresses are allowed. Other addresses require a rule with their network.",
            valueName: "rule"
        )
    )
    var rule: [String] = []

    @Flag(help: "Do not announce the public exit. Clients use it with --exit.")
    var unannounced = false

    @Option(help: ArgumentHelp.reloadable("Maximum number of streams per client.", valueName: "count"))
    var maxStreamsPerClient = ExitPolicy.Limits().streamsPerClient

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum rate of new streams per client, per second. Bursts may be twice as large.",
            valueName: "count"
        )
    )
    var maxConnectsPerSecond = ExitPolicy.Limits().connectsPerSecondPerClient

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum bytes per second of each client, in both directions together; 0 for no limit.",
            valueName: "bytes"
        )
    )
    var maxRatePerClient = 0

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum bytes per second of all clients, in both directions together; 0 for no limit.",
            valueName: "bytes"
        )
    )
    var maxRate = 0

    /// The policy of a public exit; nil if the exit is not public.
    func policy(_ settings: Settings) throws -> ExitPolicy? {
        guard try self.isPublic || settings.flag("PUBLIC") else {
            let limits = ExitPolicy.Limits()
            let needless = [
                (!self.rule.isEmpty, "--rule"), (self.unannounced, "--unannounced"),
                (self.maxStreamsPerClient != limits.streamsPerClient, "--max-streams-per-client"),
                (self.maxConnectsPerSecond != limits.connectsPerSecondPerClient, "--max-connects-per-second"),
                (self.maxRatePerClient != 0, "--max-rate-per-client"), (self.maxRate != 0, "--max-rate"),
            ].first { $0.0 }
            if let needless { throw CommandError.configuration("\(needless.1) has no effect without --public") }
            return nil
        }
        var policy = ExitPolicy()
        policy.rules = try self.rule.map { text in
            do {
                return try ExitPolicy.Rule(text)
            } catch {
                throw CommandError.configuration("--rule '\(text)': \(error)")
            }
        }
        for (value, least, option) in [
            (self.maxStreamsPerClient, 1, "--max-streams-per-client"),
            (self.maxConnectsPerSecond, 1, "--max-connects-per-second"),
            (self.maxRatePerClient, 0, "--max-rate-per-client"), (self.maxRate, 0, "--max-rate"),
        ] where !(least...1_000_000_000_000).contains(value) {
            throw CommandError.configuration("\(option): must be between \(least) and 1000000000000")
        }
        policy.limits.streamsPerClient = self.maxStreamsPerClient
        policy.limits.connectsPerSecondPerClient = self.maxConnectsPerSecond
        policy.limits.bytesPerSecondPerClient = self.maxRatePerClient
        policy.limits.bytesPerSecond = self.maxRate
        return policy
    }
}
