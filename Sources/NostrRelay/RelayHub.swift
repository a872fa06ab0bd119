//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import NIOConcurrencyHelpers
import NIOCore
import Nostr

/// What all connections of a relay share: who wants what, and what is kept.
///
/// One lock; under it only look-ups and appends. An event is put into every outbox under it, so that all subscribers
/// see all events in one order, and a REQ sees each event either stored or live and never neither.
final class RelayHub: Sendable {
    /// A subscription's way out.
    struct Subscriber: Sendable {
        let outbox: RelayOutbox
        let id: SubscriptionID
    }

    typealias Index = SubscriptionIndex<Subscriber>

    /// What became of an event.
    enum Outcome {
        /// An ephemeral one went to so many subscriptions.
        case handedOn(subscribers: Int)
        /// Another one was kept, or why it was not.
        case kept(EventStore.Insertion)
        /// The archive cannot take more now.
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

    /// Takes what the archive kept, without a word to anybody. Returns how many events there are then.
    func restore(_ events: [ReceivedEvent]) -> Int {
        self.state.withLockedValue { state in
            for event in events { _ = state.store.insert(event) }
            // They are there already; what had to go by the limits of today is taken out.
            let removed = state.store.takeChanges().filter { if case .removed = $0 { true } else { false } }
            self.archive?.apply(removed)
            return state.store.count
        }
    }

    /// Takes other limits.
    func update(_ limits: RelayLimits) {
        self.state.withLockedValue { state in
            state.store.update(limits)
            self.archive?.apply(state.store.takeChanges())
        }
    }

    /// Hands a verified event to its subscribers, and keeps it unless it is ephemeral.
    func publish(_ received: ReceivedEvent) -> Outcome {
        self.state.withLockedValue { state in
            let isEphemeral = received.event.kind.retention == .ephemeral
            if !isEphemeral {
                guard self.archive?.isBehind != true else { return .notKept }
                let result = state.store.insert(received)
                // In this order, so that the archive sees what the store saw.
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

    /// Adds a subscription: stored events, EOSE, then live ones, all through `outbox`.
    ///
    /// - Parameter now: Seconds since 1970.
    func subscribe(_ id: SubscriptionID, _ filters: [Filter], outbox: RelayOutbox, now: Int64) -> Index.Token {
        self.state.withLockedValue { state in
            for received in state.store.query(filters, now: now) {
                outbox.send(Self.delivery(of: received.json, to: id))
            }
            // Looking finds what has expired.
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

    /// Subscriptions and stored events, for status.
    var counts: (subscriptions: Int, events: Int) {
        self.state.withLockedValue { ($0.index.count, $0.store.count) }
    }

    /// The delivery as three buffers, so that the event's own bytes are shared by all subscribers.
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
