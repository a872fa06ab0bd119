//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Logging
package import NIOCore
package import Nostr
import NostrCrypto

/// Queries several relays for stored events.
package enum EventFetcher {
    /// The combined answer of the relays.
    package struct Answer: Sendable {
        /// Events with valid ids and signatures, newest first and without duplicates.
        package var events: [Event] = []
        /// Relays that sent EOSE or at least one event.
        package var answered: [RelayURL] = []
        /// Relays that could not be reached, or sent neither EOSE nor an event.
        package var unreachable: [RelayURL] = []
        /// The reasons for relays in ``unreachable``, if known.
        package var reasons: [RelayURL: String] = [:]
    }

    /// Queries all relays in parallel. Returns when each relay has answered or failed, or after `timeout`.
    package static func fetch(
        _ filter: Filter,
        from relays: [RelayURL],
        policy: DialPolicy,
        configuration: RelayClientConfiguration,
        timeout: TimeAmount,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> Answer {
        let promise = loop.makePromise(of: Answer.self)
        loop.execute {
            let fetch = Fetch(filter, relays: relays, deadline: .now() + timeout, promise: promise)
            fetch.start(policy: policy, configuration: configuration, loop: loop, logger: logger)
        }
        return try await promise.futureResult.get()
    }

    /// A running query of all relays. It is used on its event loop. The callbacks of its connections keep it alive
    /// until it has finished.
    private final class Fetch: RelayConnectionDelegate {
        private let filter: Filter
        private let relays: [RelayURL]
        private let deadline: NIODeadline
        private let promise: EventLoopPromise<Answer>
        private var pool: RelayPool?
        private var asked: Set<RelayURL> = []
        private var missing: Set<RelayURL>
        private var answer = Answer()
        private var events: [EventID: Event] = [:]

        init(_ filter: Filter, relays: [RelayURL], deadline: NIODeadline, promise: EventLoopPromise<Answer>) {
            self.filter = filter
            self.relays = relays
            self.deadline = deadline
            self.missing = Set(relays)
            self.promise = promise
        }

        func start(policy: DialPolicy, configuration: RelayClientConfiguration, loop: any EventLoop, logger: Logger) {
            guard !self.relays.isEmpty else { return self.promise.succeed(self.answer) }
            let pool = RelayPool(
                configuration: configuration,
                lingering: .zero,
                loop: loop,
                logger: logger,
                delegate: self
            )
            self.pool = pool
            let lane = RelayLane()
            for url in self.relays {
                guard let relay = pool.use(url, in: lane, policy: policy, authenticationKey: .generate()) else {
                    self.settle(url, nil, nil)
                    continue
                }
                relay.whenOpen(within: self.deadline - .now()) { isOpen in
                    if isOpen { self.ask(relay) } else { self.settle(url, nil, relay.lastError) }
                }
            }
        }

        private func ask(_ relay: RelayConnection) {
            let url = relay.url
            self.asked.insert(url)
            relay.query(self.filter, timeout: self.deadline - .now()) { events, isComplete in
                self.settle(url, isComplete || !events.isEmpty ? events.map(\.event) : nil, nil)
            }
        }

        func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
            // Do not wait for a relay that cannot be reached now. If the query was sent, its completion settles the
            // relay.
            guard case .disconnected(let reason) = state, !self.asked.contains(relay.url) else { return }
            self.settle(relay.url, nil, reason)
        }

        private func settle(_ url: RelayURL, _ events: [Event]?, _ reason: String?) {
            guard self.missing.remove(url) != nil else { return }
            if let events {
                self.answer.answered.append(url)
                for event in events where (try? event.verify()) != nil { self.events[event.id] = event }
            } else {
                self.answer.unreachable.append(url)
                self.answer.reasons[url] = reason
            }
            guard self.missing.isEmpty else { return }
            self.answer.events = self.events.values.sorted { $0.createdAt > $1.createdAt }
            self.promise.succeed(self.answer)
            self.pool?.stop()
            self.pool = nil
        }
    }
}
