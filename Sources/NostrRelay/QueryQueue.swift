//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import HTTPTransport
import NIOCore
import Nostr

/// The queries of one connection for stored events. Examines events for one query after another, in steps and at a limited
/// rate.
///
/// It must be used on the event loop of the connection.
final class QueryQueue {
    /// Cost of a step, after which other work of the event loop has its turn.
    private static let examinedAtOnce = 512
    /// What a connection may spend, per second and at once, while all connections together spend too much.
    private static let guaranteed = (perSecond: 100, burst: 1_000)

    private let hub: RelayHub
    private let loop: any EventLoop
    private let clock: RelayClock
    private struct Entry {
        let token: RelayHub.Index.Token
        let subscriber: RelayHub.Subscriber
    }

    private var queries: [SubscriptionID: EventQuery] = [:]
    /// In the order of the requests.
    private var waiting: Deque<Entry> = []
    private var allowance: TokenBucket
    private var guarantee: TokenBucket
    private var isScheduled = false

    init(hub: RelayHub, limits: RelayLimits, loop: any EventLoop, clock: RelayClock) {
        self.hub = hub
        self.loop = loop
        self.clock = clock
        let now = clock.monotonic()
        self.allowance = TokenBucket(perSecond: limits.examinedEventsPerSecond, burst: limits.storedEvents, now: now)
        self.guarantee = TokenBucket(perSecond: Self.guaranteed.perSecond, burst: Self.guaranteed.burst, now: now)
    }

    /// Adds a query. Its results and EOSE are sent when it is complete, which may be before this method returns.
    func append(_ query: EventQuery, of token: RelayHub.Index.Token, _ subscriber: RelayHub.Subscriber) {
        self.queries[subscriber.id] = query
        self.waiting.append(Entry(token: token, subscriber: subscriber))
        guard !self.isScheduled else { return }
        let now = self.clock.monotonic()
        if self.nextStep(at: now) <= now { self.examine() } else { self.schedule(at: now) }
    }

    /// Removes the query of a subscription, if it is not complete.
    func remove(_ id: SubscriptionID) {
        guard self.queries.removeValue(forKey: id) != nil else { return }
        self.waiting.removeAll { $0.subscriber.id == id }
    }

    /// Removes all queries.
    func removeAll() {
        self.queries = [:]
        self.waiting = []
    }

    private func nextStep(at now: NIODeadline) -> NIODeadline {
        max(
            self.allowance.nextToken(at: now),
            min(self.hub.examination.nextToken(at: now), self.guarantee.nextToken(at: now))
        )
    }

    private func schedule(at now: NIODeadline) {
        self.isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: self.nextStep(at: now) - now) { bound.value.examine() }
    }

    /// Examines events for the first queries, and continues later if some are not complete.
    private func examine() {
        self.isScheduled = false
        var rest = Self.examinedAtOnce
        while let entry = self.waiting.first, rest > 0 {
            // Owned by the local variable only, so that it is not copied.
            guard var query = self.queries.removeValue(forKey: entry.subscriber.id),
                let cost = self.hub.examine(&query, of: entry.token, rest)
            else {
                self.waiting.removeFirst()
                continue
            }
            self.pay(cost)
            rest -= cost
            guard query.isComplete else {
                self.queries[entry.subscriber.id] = query
                break
            }
            self.waiting.removeFirst()
            self.hub.finish(query, of: entry.token, for: entry.subscriber)
        }
        if !self.waiting.isEmpty { self.schedule(at: self.clock.monotonic()) }
    }

    private func pay(_ cost: Int) {
        let now = self.clock.monotonic()
        self.allowance.pay(cost, at: now)
        if self.hub.examination.nextToken(at: now) > now, self.guarantee.nextToken(at: now) <= now {
            self.guarantee.pay(cost, at: now)
        } else {
            self.hub.examination.pay(cost, at: now)
        }
    }
}
