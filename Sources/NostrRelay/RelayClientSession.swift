//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrCrypto

/// Handles the messages of one connected client (NIP-01, NIP-42).
///
/// It must be used on the event loop of the connection. Events that arrive in one read are verified in batches, with
/// the help of other event loops, and are published in order. Any other message is handled after the events before it.
final class RelayClientSession {
    private let configuration: RelayConfiguration
    private let hub: RelayHub
    private let loop: any EventLoop
    private let team: ParallelVerifier
    private let metrics: RelayMetrics
    private let clock: RelayClock
    private let outbox: RelayOutbox
    private let logger: Logger

    private struct Subscription {
        let token: RelayHub.Index.Token
        let values: Int
        let bytes: Int
    }

    /// Number of filter values that count as one filter.
    private static let valuesPerRequest = 50
    /// Values of new filters per second, and at once, of a connection while all connections together have too many.
    private static let guaranteedValues = (perSecond: 1_000, burst: 5_000)

    /// Events that passed all other checks and wait for verification. There are fewer than
    /// ``ParallelVerifier/maximumBatchSize``.
    private var arrived: [(received: ReceivedEvent, compressed: CompressedText?)] = []
    /// Whether the last batch contained an event with a wrong id or signature.
    private var hasForged = false
    private var subscriptions: [SubscriptionID: Subscription] = [:]
    /// Number of values in the filters of all subscriptions, and their memory.
    private var filterValues = 0
    private var filterBytes = 0
    /// Nil until the connection is open.
    private var connection: SubscriptionAccounts.Connection?
    private let queries: QueryQueue
    private var authentication: ClientAuthentication
    private var eventBucket: TokenBucket
    private var requestBucket: TokenBucket
    private var valueBucket: TokenBucket
    private var noticeBucket: TokenBucket
    private var isClosed = false

    init(
        configuration: RelayConfiguration,
        hub: RelayHub,
        loop: any EventLoop,
        team: ParallelVerifier,
        metrics: RelayMetrics,
        clock: RelayClock,
        outbox: RelayOutbox,
        host: String,
        logger: Logger
    ) {
        self.configuration = configuration
        self.hub = hub
        self.loop = loop
        self.team = team
        self.metrics = metrics
        self.clock = clock
        self.outbox = outbox
        self.logger = logger
        self.authentication = ClientAuthentication(
            challenge: String(Bytes32.random().hex.prefix(32)),
            host: host,
            maximumAge: configuration.limits.authenticationAge
        )
        let now = clock.monotonic()
        let limits = configuration.limits
        self.eventBucket = TokenBucket(perSecond: limits.eventsPerSecond, burst: limits.eventBurst, now: now)
        self.requestBucket = TokenBucket(
            perSecond: limits.filtersPerSecond,
            burst: max(limits.filtersPerSecond * 2, limits.filters + limits.filterValues / Self.valuesPerRequest),
            now: now
        )
        self.valueBucket = TokenBucket(
            perSecond: Self.guaranteedValues.perSecond,
            burst: Self.guaranteedValues.burst,
            now: now
        )
        self.queries = QueryQueue(hub: hub, limits: limits, loop: loop, clock: clock)
        self.noticeBucket = TokenBucket(perSecond: 10, burst: 50, now: now)
    }

    /// Starts the session: sends the AUTH challenge. Call when the connection is open.
    func open() {
        self.connection = self.hub.connect()
        self.metrics.connections.increment()
        self.send(.challenge(self.authentication.challenge))
    }

    /// Ends the session: publishes pending events and removes all subscriptions. Call when the connection has ended.
    func close() {
        guard !self.isClosed else { return }
        self.flush()
        self.isClosed = true
        self.hub.unsubscribe(self.subscriptions.values.map(\.token))
        self.subscriptions = [:]
        self.queries.removeAll()
        if let connection { self.hub.disconnect(connection) }
        self.outbox.close()
    }

    /// Handles one WebSocket message.
    func receive(_ text: ByteBuffer) { self.receive(WebSocketText([text])) }

    /// Handles one WebSocket message, and what is known of its compressed form.
    func receive(_ received: WebSocketText) {
        guard let text = received.parts.first, self.connection != nil, !self.isClosed else { return }
        self.metrics.messages.increment()
        self.metrics.receivedBytes.increment(by: text.readableBytes)
        let message: ClientMessage
        do {
            message = try ClientMessage.parse(text, maximumFilters: self.configuration.limits.filters)
        } catch {
            self.flush()
            self.reject(error, of: text)
            return
        }
        switch message {
        case .event(let event): self.receive(event, Self.compressedForm(of: event, in: received))
        case .request(let id, let filters):
            self.flush()
            self.subscribe(id, filters)
        case .close(let id):
            self.flush()
            self.unsubscribe(id)
        case .authentication(let event):
            self.flush()
            self.authenticate(event)
        }
    }

    private func send(_ message: RelayMessage) {
        self.outbox.send(WebSocketText([message.encoded()]))
    }

    private func notice(_ text: String) {
        if self.noticeBucket.take(at: self.clock.monotonic()) { self.send(.notice(text)) }
    }

    private func reject(_ error: MessageParsingError, of text: ByteBuffer) {
        self.outbox.noteWaste()
        switch error {
        case .filter(let problem, let id):
            self.metrics.rejected(.invalidFilter)
            self.unsubscribe(id)
            self.send(.closed(id, ReasonText(.invalid, "\(problem)")))
        case .event:
            self.metrics.rejected(.malformedEvent)
            // NIP-01 requires an OK for every EVENT, so send one if the id can be read. A malformed event also counts
            // against the rate limit.
            _ = self.eventBucket.take(at: self.clock.monotonic())
            if let hex = (try? JSONValue.parse(text))?.elements?.dropFirst().first?["id"]?.text,
                let id = Bytes32(hex: hex)
            {
                self.send(.ok(EventID(id), accepted: false, ReasonText(.invalid, "\(error)")))
            } else {
                self.notice("invalid: \(error)")
            }
        case .json, .subscriptionID, .unknownType, .shape:
            self.metrics.rejected(.malformedMessage)
            self.notice("invalid: \(error)")
        }
    }

    // MARK: EVENT

    /// Maximum number of bytes of an event that are not compressed, so that the compressed form is passed on.
    private static let longestRest = 4 << 10
    /// What precedes the JSON of an event in a message without spaces.
    private static let eventHead = ByteBuffer(string: "[\"EVENT\",{").readableBytesView

    /// The compressed form of a part of an event's JSON, with its place there. Nil unless it is certain where in the message the JSON
    /// is: otherwise subscribers would receive something else than what was verified.
    private static func compressedForm(of event: ReceivedEvent, in received: WebSocketText) -> CompressedText? {
        guard let text = received.parts.first, text.readableBytesView.starts(with: Self.eventHead),
            let compressed = received.compressed?.moved(by: 1 - Self.eventHead.count),
            compressed.range.upperBound <= event.json.readableBytes,
            // What is not compressed is copied for each subscriber.
            event.json.readableBytes - compressed.range.count <= Self.longestRest
        else { return nil }
        return compressed
    }

    private func receive(_ received: ReceivedEvent, _ compressed: CompressedText?) {
        if let (rejection, reason) = self.check(received) {
            self.flush()
            self.reject(received, rejection, reason)
            return
        }
        self.arrived.append((received, compressed))
        if self.arrived.count >= ParallelVerifier.maximumBatchSize { self.flush() }
    }

    private func reject(_ received: ReceivedEvent, _ rejection: RelayMetrics.Rejection, _ reason: ReasonText) {
        self.metrics.rejected(rejection)
        if [.rateLimited, .invalidID, .invalidSignature].contains(rejection) { self.outbox.noteWaste() }
        self.send(.ok(received.event.id, accepted: false, reason))
    }

    /// Verifies and publishes the waiting events. Called at the end of each read, or earlier.
    func flush() {
        guard !self.arrived.isEmpty else { return }
        let events = self.arrived
        self.arrived.removeAll(keepingCapacity: true)
        let verdicts = self.team.verify(events.map(\.received), on: self.loop, alone: self.hasForged)
        self.hasForged = verdicts.contains { $0 != nil }
        for ((received, compressed), error) in zip(events, verdicts) {
            switch error {
            case nil: self.publish(received, compressed)
            case .idMismatch:
                self.reject(received, .invalidID, ReasonText(.invalid, "id is not the hash of the event"))
            case .invalidSignature:
                self.reject(received, .invalidSignature, ReasonText(.invalid, "signature does not verify"))
            }
        }
    }

    /// Checks an event without verifying its id and signature, cheapest check first. Returns nil if it passes.
    private func check(_ received: ReceivedEvent) -> (RelayMetrics.Rejection, ReasonText)? {
        let event = received.event
        let limits = self.configuration.limits
        guard self.eventBucket.take(at: self.clock.monotonic()) else {
            return (.rateLimited, ReasonText(.rateLimited, "at most \(limits.eventsPerSecond) events per second"))
        }
        guard received.json.readableBytes <= limits.eventLength else {
            return (.eventTooLong, ReasonText(.invalid, "event is longer than \(limits.eventLength) bytes"))
        }
        guard event.kind != .authentication else {
            return (.kindNotAccepted, ReasonText(.invalid, "kind 22242 must be sent as AUTH, not as EVENT"))
        }
        if let kinds = self.configuration.acceptedKinds, !kinds.contains(event.kind) {
            return (.kindNotAccepted, ReasonText(.blocked, "this relay does not accept kind \(event.kind)"))
        }
        let now = self.clock.secondsSince1970()
        guard event.createdAt <= now + Int64(limits.createdAtUpperLimit) else {
            let limit = limits.createdAtUpperLimit
            return (.createdAt, ReasonText(.invalid, "created_at is more than \(limit) seconds in the future"))
        }
        if let expiration = event.expiration, expiration <= now {
            return (.expired, ReasonText(.invalid, "event has expired"))
        }
        if event.isProtected, !self.authentication.contains(event.pubkey) {
            return (.protected, ReasonText(.authRequired, "only the author may publish a protected event"))
        }
        return nil
    }

    private func publish(_ received: ReceivedEvent, _ compressed: CompressedText?) {
        let id = received.event.id
        switch self.hub.publish(received, compressed: compressed) {
        case .handedOn(subscribers: 0):
            // The event is valid, so it is accepted. The `mute` prefix (NIP-01) tells a tunnel client at once that its
            // exit is not connected to this relay.
            self.metrics.eventsAccepted.increment()
            self.send(.ok(id, accepted: true, ReasonText(.mute, "no one is subscribed to this event")))
        case .handedOn, .kept(.stored):
            self.metrics.eventsAccepted.increment()
            self.send(.ok(id, accepted: true, .none))
        case .notKept:
            self.metrics.rejected(.archiveBehind)
            self.send(.ok(id, accepted: false, ReasonText(.error, "the relay cannot store events; try again later")))
        case .kept(.duplicate):
            self.send(.ok(id, accepted: true, ReasonText(.duplicate, "already have this event")))
        case .kept(.superseded):
            self.send(.ok(id, accepted: false, ReasonText(.invalid, "the relay has a newer version of this event")))
        case .kept(.full):
            self.metrics.rejected(.storeFull)
            self.send(.ok(id, accepted: false, ReasonText(.error, "the event is larger than the relay's store")))
        case .kept(.deleted):
            self.metrics.rejected(.deleted)
            self.send(.ok(id, accepted: false, ReasonText(.blocked, "this event was deleted by its author")))
        }
    }

    // MARK: REQ

    private func subscribe(_ id: SubscriptionID, _ filters: [Filter]) {
        self.unsubscribe(id)
        let now = self.clock.monotonic()
        let values = filters.reduce(0) { $0 + $1.valueCount }
        guard let connection else { return }
        guard self.requestBucket.take(filters.count + values / Self.valuesPerRequest, at: now) else {
            let limit = self.configuration.limits.filtersPerSecond
            self.limitRate(id, "at most \(limit) filters, or \(limit * Self.valuesPerRequest) values, per second")
            return
        }
        if !self.hub.filterValues.take(values, at: now) {
            guard self.valueBucket.take(0, at: now), self.valueBucket.nextToken(at: now) <= now else {
                self.limitRate(id, "all clients together have sent too many filter values; try again later")
                return
            }
            // Debts are allowed, so that a large request can succeed.
            self.valueBucket.pay(values, at: now)
        }
        let bytes = filters.reduce(0) { $0 + $1.byteCount }
        let limits = self.configuration.limits
        if self.subscriptions.count >= limits.subscriptions || self.filterValues + values > limits.filterValues
            || self.filterBytes + bytes > limits.filterBytes
        {
            self.forgetEndedSubscriptions()
        }
        guard self.subscriptions.count < self.configuration.limits.subscriptions else {
            self.metrics.rejected(.subscriptionLimit)
            let limit = self.configuration.limits.subscriptions
            self.send(.closed(id, ReasonText(.restricted, "at most \(limit) subscriptions per connection")))
            return
        }
        guard self.filterValues + values <= self.configuration.limits.filterValues else {
            self.metrics.rejected(.subscriptionLimit)
            let limit = self.configuration.limits.filterValues
            self.send(.closed(id, ReasonText(.restricted, "at most \(limit) filter values per connection")))
            return
        }
        guard self.filterBytes + bytes <= self.configuration.limits.filterBytes else {
            self.metrics.rejected(.subscriptionLimit)
            let limit = self.configuration.limits.filterBytes
            self.send(.closed(id, ReasonText(.restricted, "at most \(limit) bytes of filters per connection")))
            return
        }
        self.filterValues += values
        self.filterBytes += bytes
        let subscriber = RelayHub.Subscriber(outbox: self.outbox, id: id, connection: connection)
        let (token, query) = self.hub.subscribe(subscriber, filters)
        self.subscriptions[id] = Subscription(token: token, values: values, bytes: bytes)
        self.queries.append(query, of: token, subscriber)
    }

    private func limitRate(_ id: SubscriptionID, _ reason: String) {
        self.metrics.rejected(.rateLimited)
        self.outbox.noteWaste()
        self.send(.closed(id, ReasonText(.rateLimited, reason)))
    }

    /// Forgets the subscriptions that the relay has ended because of their cost.
    private func forgetEndedSubscriptions() {
        let ended = self.hub.ended(among: self.subscriptions.values.map(\.token))
        for (id, subscription) in self.subscriptions where ended.contains(subscription.token) { self.unsubscribe(id) }
    }

    private func unsubscribe(_ id: SubscriptionID) {
        guard let subscription = self.subscriptions.removeValue(forKey: id) else { return }
        self.filterValues -= subscription.values
        self.filterBytes -= subscription.bytes
        self.queries.remove(id)
        self.hub.unsubscribe([subscription.token])
    }

    // MARK: AUTH (NIP-42)

    private func authenticate(_ event: Event) {
        guard self.eventBucket.take(at: self.clock.monotonic()) else {
            self.send(.ok(event.id, accepted: false, ReasonText(.rateLimited, "too many events")))
            return
        }
        do {
            try self.authentication.add(event, at: self.clock.secondsSince1970())
        } catch {
            self.metrics.rejected(.invalidAuthentication)
            self.send(.ok(event.id, accepted: false, ReasonText(.invalid, error.reason)))
            return
        }
        self.metrics.authentications.increment()
        self.send(.ok(event.id, accepted: true, .none))
    }
}
