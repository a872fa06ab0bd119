//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Tunnel

/// Options of an exit that goes to the internet for others.
struct PublicExitOptions: ParsableArguments {
    @Flag(
        name: .customLong("public"),
        help: "Go where strangers ask for, within the rules, and announce that on the relays. [PUBLIC]"
    )
    var isPublic = false

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "In order, the first that matches wins: 'allow|deny [host NAME|*.NAME] [cidr NETWORK] [port PORT[-PORT][,…]]'. Without one that matches only common ports on addresses of the internet are allowed; others need a rule that names their network.",
            valueName: "rule"
        )
    )
    var rule: [String] = []

    @Flag(help: "Do not announce a public exit; clients name it with --exit.")
    var unannounced = false

    @Option(help: ArgumentHelp("Streams of one client at once.", valueName: "count"))
    var maxStreamsPerClient = ExitPolicy.Limits().streamsPerClient

    @Option(help: ArgumentHelp("Streams a second that one client may open; twice as many at once.", valueName: "count"))
    var maxConnectsPerSecond = ExitPolicy.Limits().connectsPerSecondPerClient

    @Option(help: ArgumentHelp("Bytes a second of one client, both ways together; 0 for no limit.", valueName: "bytes"))
    var maxRatePerClient = 0

    @Option(
        help: ArgumentHelp("Bytes a second of all clients, both ways together; 0 for no limit.", valueName: "bytes")
    )
    var maxRate = 0

    /// Nil for an exit that is not public.
    func policy(_ settings: Settings) throws -> ExitPolicy? {
        guard try self.isPublic || settings.flag("PUBLIC") else {
            let limits = ExitPolicy.Limits()
            let needless = [
                (!self.rule.isEmpty, "--rule"), (self.unannounced, "--unannounced"),
                (self.maxStreamsPerClient != limits.streamsPerClient, "--max-streams-per-client"),
                (self.maxConnectsPerSecond != limits.connectsPerSecondPerClient, "--max-connects-per-second"),
                (self.maxRatePerClient != 0, "--max-rate-per-client"), (self.maxRate != 0, "--max-rate"),
            ].first { $0.0 }
            if let needless { throw CommandError.configuration("\(needless.1) does nothing without --public") }
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
            throw CommandError.configuration("\(option): expected \(least) or more")
        }
        policy.limits.streamsPerClient = self.maxStreamsPerClient
        policy.limits.connectsPerSecondPerClient = self.maxConnectsPerSecond
        policy.limits.bytesPerSecondPerClient = self.maxRatePerClient
        policy.limits.bytesPerSecond = self.maxRate
        return policy
    }
}
