//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import ServiceLifecycle
import Tunnel

/// Adds relays from the public list when chosen ones stop working.
///
/// Devices learn the new relays in their sessions.
struct RelayKeeper<Command: RoleCommand>: Service where Command.Running == ExitService {
    let role: StartedRole<ExitService>
    let list: PublicRelayList
    let trial: RelayTrial
    let logger: Logger
    /// Changes the relays of the running exit.
    let use: @Sendable (ExitService, [RelayURL]) async throws -> Void

    /// Interval at which the relays are checked.
    private static var interval: Duration { .seconds(10) }
    /// Consecutive checks that must find a relay disconnected before another one is added.
    private static var maximumFailures: Int { 60 }
    /// The same number, if no relay is connected.
    private static var maximumFailuresOfAll: Int { 2 }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var failures: [RelayURL: Int] = [:]
            var checksWithoutRelay = 0
            // Counts while fewer relays than wanted work.
            var checks = 0
            // Doubles with each attempt, so that a network outage does not cause a trial every 20 seconds.
            var requiredChecks = Self.maximumFailuresOfAll
            while (try? await Task.sleep(for: Self.interval)) != nil {
                guard let running = self.role.current, let status = try? await running.status() else { continue }
                for relay in status.relays {
                    failures[relay.url] = relay.isUp ? 0 : failures[relay.url, default: 0] + 1
                }
                checksWithoutRelay = status.relays.contains(where: \.isUp) ? 0 : checksWithoutRelay + 1
                if checksWithoutRelay == 0 { requiredChecks = Self.maximumFailuresOfAll }
                let urls = status.relays.map(\.url)
                let dead =
                    checksWithoutRelay >= requiredChecks
                    ? urls : urls.filter { failures[$0, default: 0] >= Self.maximumFailures }
                checks = status.relays.count(where: \.isUp) < RelayTrial.wanted ? checks + 1 : 0
                guard !dead.isEmpty || checks >= Self.maximumFailures else { continue }
                checks = 0
                failures = [:]
                checksWithoutRelay = 0
                requiredChecks = min(2 * requiredChecks, Self.maximumFailures)
                await self.replace(dead, of: urls, in: running)
            }
        }
    }

    /// Maximum number of relays, with those that have stopped.
    private static var maximumRelays: Int { 2 * RelayTrial.wanted }

    /// Adds relays for those that have stopped. These stay, after the others: they may come back, and a device that was away
    /// may know no others.
    private func replace(_ dead: [RelayURL], of urls: [RelayURL], in running: ExitService) async {
        let candidates = self.list.entries.filter { !urls.contains($0.url) }
        let results: [RelayTrial.Result]
        let status: TunnelStatus
        do {
            results = try await self.trial.run(candidates.shuffled(), triesAll: false)
            status = try await running.status()
        } catch is CancellationError {
            return
        } catch {
            return self.logger.warning("cannot try other relays", metadata: ["error": "\(error)"])
        }
        let working = urls.filter { url in !dead.contains(url) || status.relays.contains { $0.url == url && $0.isUp } }
        // The stopped relays may have reconnected during the trial, so add only as many as are still missing.
        let added = RelayTrial.chosen(results).prefix(max(0, RelayTrial.wanted - working.count))
        guard !added.isEmpty else { return }
        let stopped = urls.filter { !working.contains($0) }
        let relays = Array((working + added + stopped).prefix(Self.maximumRelays))
        do {
            try await self.use(running, relays)
            self.logger.notice(
                "relays added for some that stopped",
                metadata: [
                    "stopped": "\(stopped.map(\.text).joined(separator: " "))",
                    "added": "\(added.map(\.text).joined(separator: " "))",
                ]
            )
        } catch {
            self.logger.warning("cannot replace relays that stopped", metadata: ["error": "\(error)"])
        }
    }
}
