//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
public import NIOCore
public import Nostr
import NostrCrypto

/// Asks relays for stored events, once.
public enum EventFetcher {
    /// What relays answered.
    public struct Answer: Sendable {
        /// Events whose signatures are right, the newest first, each once.
        public var events: [Event] = []
        /// Relays that said all they have, or something at least.
        public var answered: [RelayURL] = []
        /// Relays that could not be asked, or did not answer.
        public var unreachable: [RelayURL] = []
        /// Why, where that is known.
        public var reasons: [RelayURL: String] = [:]
    }

    /// Asks all relays at once, and waits for all of them, or for `timeout`.
    public static func fetch(
        _ filter: Filter,
        from relays: [RelayURL],
        policy: DialPolicy,
        configuration: RelayClientConfiguration,
        timeout: TimeAmount,
        on loop: any EventLoop,
        logger: Logger
    ) async throws -> Answer {
        let promise = loop.makePromise(of: Answer.self)
        let deadline = NIODeadline.now() + timeout
        loop.execute {
            let collector = Collector(relays: relays, promise: promise)
            let pool = RelayPool(
                configuration: configuration,
                lingering: .zero,
                loop: loop,
                logger: logger,
                // One that cannot be had now is not waited for.
                callbacks: RelayPool.Callbacks(onDown: { collector.down($0.url, $1) })
            )
            collector.pool = pool
            for url in relays {
                let key = RelayPool.Key(url: url, lane: "fetch")
                guard let connection = pool.use(key, policy: policy, authenticationKey: .generate()) else {
                    collector.settle(url, nil)
                    continue
                }
                connection.whenOpen(within: timeout) { isOpen in
                    guard isOpen else {
                        collector.settle(url, nil, pool.connection(key)?.lastError)
                        return
                    }
                    collector.asked.insert(url)
                    connection.query(filter, timeout: deadline - .now()) { events, isComplete in
                        collector.settle(url, isComplete || !events.isEmpty ? events.map(\.event) : nil)
                    }
                }
            }
        }
        return try await promise.futureResult.get()
    }

    /// What came so far, on the loop.
    private final class Collector {
        var pool: RelayPool?
        var asked: Set<RelayURL> = []
        private var missing: Set<RelayURL>
        private var answer = Answer()
        private var events: [EventID: Event] = [:]
        private let promise: EventLoopPromise<Answer>

        init(relays: [RelayURL], promise: EventLoopPromise<Answer>) {
            self.missing = Set(relays)
            self.promise = promise
            if relays.isEmpty { promise.succeed(Answer()) }
        }

        /// A connection ended. One on which the question was asked has its answer, or what came of it, settled by that.
        func down(_ url: RelayURL, _ reason: String) {
            if !self.asked.contains(url) { self.settle(url, nil, reason) }
        }

        func settle(_ url: RelayURL, _ events: [Event]?, _ reason: String? = nil) {
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
