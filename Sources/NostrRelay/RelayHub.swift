//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import NIOConcurrencyHelpers
import NIOCore
import Nostr

/// The state that all connections of a relay share: subscriptions and stored events.
///
/// One lock protects it. No file or socket I/O happens while it is held. An event is added to the outboxes of all its
/// subscribers under the lock, so all of them see events in the same order. A new subscription receives each matching
/// event exactly once, either as a stored or as a live event.
final class RelayHub: Sendable {
    /// The client that receives the events of a subscription.
    struct Subscriber: Sendable {
        let outbox: RelayOutbox
        let id: SubscriptionID
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
        var index = Index()
        var store: EventStore
    }

    private let state: NIOLockedValueBox<State>
    private let metrics: RelayMetrics
    private let archive: EventArchive?

    init(limits: RelayLimits, metrics: RelayMetrics, archive: EventArchive? = nil) {
        self.state = NIOLockedValueBox(State(store: EventStore(limits: limits, recordsChanges: archive != nil)))
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

    /// Applies new limits to the store. Events beyond them are removed, oldest first.
    func update(_ limits: RelayLimits) {
        self.state.withLockedValue { state in
            state.store.update(limits)
            self.archive?.apply(state.store.takeChanges())
        }
    }

    /// Sends a verified event to its subscribers, and stores it unless it is ephemeral.
    func publish(_ received: ReceivedEvent) -> Outcome {
        self.state.withLockedValue { state in
            let isEphemeral = received.event.kind.retention == .ephemeral
            if !isEphemeral {
                guard self.archive?.isBehind != true else { return .notKept }
                let result = state.store.insert(received)
                // Under the lock, so that the archive gets changes in the order in which the store made them.
                self.archive?.apply(state.store.takeChanges())
                guard result == .stored else { return .kept(result) }
            }
            var delivered: Int64 = 0
            state.index.forEachMatch(received.event) { subscriber in
                subscriber.outbox.send(Self.delivery(of: received.json, to: subscriber.id))
                delivered += 1
            }
            if delivered > 0 { self.metrics.eventsDelivered.increment(by: delivered) }
            return isEphemeral ? .handedOn(subscribers: Int(delivered)) : .kept(.stored)
        }
    }

    /// Adds a subscription, and sends its stored events and EOSE to `outbox`. Live events follow.
    ///
    /// - Parameters:
    ///   - id: The subscription ID that the client chose.
    ///   - filters: Events that match any of these are sent.
    ///   - outbox: The outgoing messages of the client.
    ///   - now: The current time in seconds since 1970.
    /// - Returns: A token for ``unsubscribe(_:)``.
    func subscribe(_ id: SubscriptionID, _ filters: [Filter], outbox: RelayOutbox, now: Int64) -> Index.Token {
        self.state.withLockedValue { state in
            for received in state.store.query(filters, now: now) {
                outbox.send(Self.delivery(of: received.json, to: id))
            }
            // The query removes expired events from the store.
            self.archive?.apply(state.store.takeChanges())
            outbox.send([RelayMessage.endOfStoredEvents(id).encoded()])
            return state.index.insert(Subscriber(outbox: outbox, id: id), filters: filters)
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

    /// Number of subscriptions and of stored events, for status reports.
    var counts: (subscriptions: Int, events: Int) {
        self.state.withLockedValue { ($0.index.count, $0.store.count) }
    }

    /// Builds an EVENT message as three buffers, so that all subscribers share the buffer of the event.
    private static func delivery(of json: ByteBuffer, to id: SubscriptionID) -> [ByteBuffer] {
        var head = ByteBuffer()
        head.reserveCapacity(id.bytes.bytes.count + 16)
        head.writeStaticString("[\"EVENT\",")
        head.writeJSONString(id.bytes.bytes)
        head.writeStaticString(",")
        return [head, json, Self.tail]
    }

    private static let tail = ByteBuffer(string: "]")
}
