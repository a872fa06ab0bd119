//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import ServiceLifecycle
import Tunnel

/// Replaces relays that were chosen from a list of public relays and have stopped working.
///
/// Clients learn the new relays in their sessions, by those that still work.
struct RelayKeeper<Command: RoleCommand>: Service where Command.Running == ExitService {
    let role: StartedRole<ExitService>
    let list: PublicRelayList
    let trial: RelayTrial
    let logger: Logger
    /// Changes the relays of the running exit.
    let use: @Sendable (ExitService, [RelayURL]) async throws -> Void

    /// Interval at which the relays are checked.
    private static var interval: Duration { .seconds(10) }
    /// Number of checks in a row that find a relay disconnected before it is replaced.
    private static var maximumFailures: Int { 60 }
    /// The same number, if no relay is connected.
    private static var maximumFailuresOfAll: Int { 2 }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var failures: [RelayURL: Int] = [:]
            var lonely = 0
            // Counts while there are fewer relays than wanted.
            var checks = 0
            // Grows while no relay of the list works either: then the network is down.
            var patience = Self.maximumFailuresOfAll
            while (try? await Task.sleep(for: Self.interval)) != nil {
                guard let running = self.role.current, let status = try? await running.status() else { continue }
                for relay in status.relays {
                    failures[relay.url] = relay.isUp ? 0 : failures[relay.url, default: 0] + 1
                }
                lonely = status.relays.contains(where: \.isUp) ? 0 : lonely + 1
                if lonely == 0 { patience = Self.maximumFailuresOfAll }
                let urls = status.relays.map(\.url)
                let dead = lonely >= patience ? urls : urls.filter { failures[$0, default: 0] >= Self.maximumFailures }
                checks = urls.count < RelayTrial.wanted ? checks + 1 : 0
                guard !dead.isEmpty || checks >= Self.maximumFailures else { continue }
                checks = 0
                failures = [:]
                lonely = 0
                patience = min(2 * patience, Self.maximumFailures)
                await self.replace(dead, of: urls, in: running)
            }
        }
    }

    private func replace(_ dead: [RelayURL], of urls: [RelayURL], in running: ExitService) async {
        let kept = urls.filter { !dead.contains($0) }
        let candidates = self.list.entries.filter { !urls.contains($0.url) }
        // Without a network, nothing works, and nothing is replaced.
        guard let results = try? await self.trial.run(candidates.shuffled(), triesAll: false) else { return }
        let added = RelayTrial.chosen(results).prefix(RelayTrial.wanted - kept.count)
        guard !added.isEmpty else { return }
        do {
            // Relays for which there is no substitute stay: they may come back.
            let rest = dead.dropFirst(added.count)
            try await self.use(running, kept + added + rest)
            self.logger.notice(
                "relays changed",
                metadata: [
                    "stopped": "\(dead.prefix(added.count).map(\.text).joined(separator: " "))",
                    "added": "\(added.map(\.text).joined(separator: " "))",
                ]
            )
        } catch {
            self.logger.warning("cannot replace relays that stopped", metadata: ["error": "\(error)"])
        }
    }
}
