//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import NIOConcurrencyHelpers
import NIOCore
import Nostr

/// The state that all connections of a relay share: subscriptions and stored events.
///
/// One lock protects it. No file or socket I/O happens while it is held. An event is added to the outboxes of all its
/// subscribers under the lock, so all of them see events in the same order. A new subscription receives each matching
/// event exactly once, either as a stored or as a live event. Stored events are examined in steps, between which the lock
/// is free; live events may then arrive before EOSE.
final class RelayHub: Sendable {
    /// The client that receives the events of a subscription.
    struct Subscriber: Sendable {
        let outbox: RelayOutbox
        let id: SubscriptionID
        let connection: SubscriptionAccounts.Connection
    }

    typealias Index = SubscriptionIndex<Subscriber>

    /// The result of publishing an event.
    enum Outcome {
        /// An ephemeral event was sent to this many subscriptions. It is not stored.
        case handedOn(subscribers: Int)
        /// The result of inserting an event that is not ephemeral into the store.
        case kept(EventStore.Insertion)
        /// The event was rejected because the archive cannot save it now.
        case notKept
    }

    private struct State: Sendable {
        var index: Index
        var accounts = SubscriptionAccounts()
        var store: EventStore
        /// How far events may be dated in the future, in seconds.
        var createdAtUpperLimit: Int64
    }

    /// Cost per second, and at once, of the queries of all connections. An examined event takes about 0.4 µs.
    private static let examinedEvents = (perSecond: 100_000, burst: 200_000)
    /// Values of new filters per second, and at once, of all connections. One takes about 3 µs.
    private static let filterValues = (perSecond: 100_000, burst: 200_000)

    /// Limits the cost of queries.
    let examination: SharedLimit
    /// Limits the values of new filters.
    let filterValues: SharedLimit
    private let state: NIOLockedValueBox<State>
    private let metrics: RelayMetrics
    private let archive: EventArchive?
    private let clock: RelayClock

    init(
        limits: RelayLimits,
        metrics: RelayMetrics,
        clock: RelayClock,
        archive: EventArchive? = nil,
        limitsTunnelMessages: Bool = true
    ) {
        self.clock = clock
        let now = clock.monotonic()
        let (examined, values) = (Self.examinedEvents, Self.filterValues)
        self.examination = SharedLimit(perSecond: examined.perSecond, burst: examined.burst, now: now)
        self.filterValues = SharedLimit(perSecond: values.perSecond, burst: values.burst, now: now)
        self.state = NIOLockedValueBox(
            State(
                index: Index(limitsTunnelMessages: limitsTunnelMessages),
                store: EventStore(limits: limits, recordsChanges: archive != nil),
                createdAtUpperLimit: Int64(limits.createdAtUpperLimit)
            )
        )
        self.metrics = metrics
        self.archive = archive
    }

    /// Adds events from the archive to the store, without sending them to subscribers.
    ///
    /// - Returns: The number of stored events afterwards.
    func restore(_ events: [ReceivedEvent]) -> Int {
        self.state.withLockedValue { state in
            for event in events { _ = state.store.insert(event) }
            // The archive already contains the added events. Write only the removals, for example those caused by lower
            // limits.
            let removed = state.store.takeChanges().filter { if case .removed = $0 { true } else { false } }
            self.archive?.apply(removed)
            return state.store.count
        }
    }

    /// Applies new limits to the store. Events beyond them are removed; those that arrived first go first.
    func update(_ limits: RelayLimits) {
        self.state.withLockedValue { state in
            state.store.update(limits)
            state.createdAtUpperLimit = Int64(limits.createdAtUpperLimit)
            self.archive?.apply(state.store.takeChanges())
        }
    }

    /// Sends a verified event to its subscribers, and stores it unless it is ephemeral.
    ///
    /// - Parameters:
    ///   - received: The event.
    ///   - compressed: The compressed form of a part of its JSON, if it came with one.
    func publish(_ received: ReceivedEvent, compressed: CompressedText? = nil) -> Outcome {
        let isEphemeral = received.event.kind.retention == .ephemeral
        let received = isEphemeral ? received.withoutLargerStorage : received
        let compressed = isEphemeral ? compressed?.withoutLargerStorage : nil
        let tags = TagIndex(received.event)
        return self.state.withLockedValue { state in
            if !isEphemeral {
                guard self.archive?.isBehind != true else { return .notKept }
                let result = state.store.insert(received)
                // Under the lock, so that the archive gets changes in the order in which the store made them.
                self.archive?.apply(state.store.takeChanges())
                guard result == .stored else { return .kept(result) }
            }
            // The store's copy, so that waiting deliveries do not keep the read buffer.
            let delivered = self.deliver(
                state.store.received(received.event.id) ?? received,
                compressed,
                tags,
                &state
            )
            if delivered > 0 { self.metrics.eventsDelivered.increment(by: delivered) }
            return isEphemeral ? .handedOn(subscribers: Int(delivered)) : .kept(.stored)
        }
    }

    /// Sends an event to its subscribers. Ends subscriptions that cost too much.
    private func deliver(
        _ received: ReceivedEvent,
        _ compressed: CompressedText?,
        _ tags: TagIndex?,
        _ state: inout State
    ) -> Int64 {
        let now = self.clock.monotonic()
        state.index.wake(newest: self.newestDate(state))
        state.accounts.beginEvent()
        var delivered: Int64 = 0
        var costly: [Index.Token] = []
        var accounts = state.accounts
        // Otherwise the accounts would be copied at their first change.
        state.accounts = SubscriptionAccounts()
        // A node's old and new subscriptions overlap while it replaces them.
        let free = received.event.kind == .tunnelMessage ? 2 : 1
        state.index.forEachCandidate(received.event, tags) { token, subscriber, matches, cost in
            var isPaid = accounts.charge(cost, subscriber.connection, at: now)
            if matches {
                if !accounts.chargeDelivery(subscriber.connection, free: free, at: now) { isPaid = false }
                subscriber.outbox.send(Self.delivery(of: received.json, compressed, to: subscriber.id))
                delivered += 1
            }
            if !isPaid { costly.append(token) }
        }
        state.accounts = accounts
        for token in costly {
            guard let subscriber = state.index.remove(token) else { continue }
            self.metrics.rejected(.costlySubscription)
            let reason = ReasonText(
                .rateLimited,
                "this connection's subscriptions compare or repeat too many events; use fewer or narrower filters"
            )
            subscriber.outbox.send(WebSocketText([RelayMessage.closed(subscriber.id, reason).encoded()]))
        }
        return delivered
    }

    /// The latest date of an event that the relay accepts now, in seconds since 1970.
    private func newestDate(_ state: State) -> Int64 {
        self.clock.secondsSince1970() + state.createdAtUpperLimit
    }

    // MARK: Subscriptions

    /// Adds a connection. Its token identifies it in subscriptions.
    func connect() -> SubscriptionAccounts.Connection {
        let now = self.clock.monotonic()
        return self.state.withLockedValue { $0.accounts.open(at: now) }
    }

    /// Removes a connection.
    func disconnect(_ connection: SubscriptionAccounts.Connection) {
        self.state.withLockedValue { $0.accounts.close(connection) }
    }

    /// Adds a subscription. Live events are sent from now on. Stored events are those of the query.
    ///
    /// - Returns: A token for ``unsubscribe(_:)``, and the query for ``examine(_:of:_:)`` and ``finish(_:of:for:)``.
    func subscribe(_ subscriber: Subscriber, _ filters: [Filter]) -> (token: Index.Token, query: EventQuery) {
        self.state.withLockedValue { state in
            let token = state.index.insert(subscriber, filters: filters, newest: self.newestDate(state))
            return (token, state.store.query(filters))
        }
    }

    /// Examines stored events for the query of a subscription until their cost reaches `count`. Returns the cost
    /// (``EventQuery``), or nil if the subscription has ended.
    func examine(_ query: inout EventQuery, of token: Index.Token, _ count: Int) -> Int? {
        let now = self.clock.secondsSince1970()
        return self.state.withLockedValue { state in
            state.index.contains(token) ? query.examine(count, in: state.store, now: now) : nil
        }
    }

    /// Sends the results of a complete query, and EOSE, unless the subscription has ended.
    func finish(_ query: EventQuery, of token: Index.Token, for subscriber: Subscriber) {
        let results = self.state.withLockedValue { state in
            let results = query.results(in: state.store)
            if !query.expired.isEmpty {
                state.store.remove(expired: query.expired)
                self.archive?.apply(state.store.takeChanges())
            }
            return results
        }
        let sorted = results.sorted { EventStore.Position($0.event) < EventStore.Position($1.event) }
        var messages = sorted.map { Self.delivery(of: $0.json, to: subscriber.id) }
        messages.append(WebSocketText([RelayMessage.endOfStoredEvents(subscriber.id).encoded()]))
        self.state.withLockedValue { state in
            guard state.index.contains(token) else { return }
            for message in messages { subscriber.outbox.send(message) }
        }
    }

    /// Removes subscriptions.
    func unsubscribe(_ tokens: some Sequence<Index.Token>) {
        self.state.withLockedValue { state in
            for token in tokens {
                state.index.remove(token)
            }
        }
    }

    /// Returns which subscriptions the relay has ended because of their cost.
    func ended(among tokens: some Sequence<Index.Token>) -> Set<Index.Token> {
        self.state.withLockedValue { state in Set(tokens.filter { !state.index.contains($0) }) }
    }

    /// Number of subscriptions and of stored events, for status reports.
    var counts: (subscriptions: Int, events: Int) {
        self.state.withLockedValue { ($0.index.count, $0.store.count) }
    }

    /// Builds an EVENT message as three buffers, so that all subscribers share the buffer of the event, and its compressed form.
    private static func delivery(
        of json: ByteBuffer,
        _ compressed: CompressedText? = nil,
        to id: SubscriptionID
    ) -> WebSocketText {
        var head = ByteBuffer()
        head.reserveCapacity(id.bytes.bytes.count + 16)
        head.writeStaticString("[\"EVENT\",")
        head.writeJSONString(id.bytes.bytes)
        head.writeStaticString(",")
        return WebSocketText([head, json, Self.tail], compressed: compressed?.moved(by: head.readableBytes))
    }

    private static let tail = ByteBuffer(string: "]")
}
