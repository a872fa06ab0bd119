//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import NostrRelay

/// Returns a signed event and its JSON, as the relay receives it.
func makeEvent(
    _ key: SecretKey,
    kind: UInt16 = 1,
    createdAt: Int64 = 1_000,
    tags: [Nostr.Tag] = [],
    content: String = ""
) throws -> ReceivedEvent {
    let event = try Event.signed(
        by: key,
        createdAt: createdAt,
        kind: EventKind(rawValue: kind),
        tags: tags,
        content: ByteBuffer(string: content)
    )
    return ReceivedEvent(event: event, json: event.json)
}

/// Wraps an `EventStore` in a class, because `#expect` evaluates a copy of a value and would lose the changes.
final class StoreBox {
    private var store: EventStore

    init(limits: RelayLimits) { self.store = EventStore(limits: limits) }

    func insert(_ event: ReceivedEvent) -> EventStore.Insertion { self.store.insert(event) }
    /// Queries in steps of three events.
    func query(_ filters: [Filter], now: Int64) -> [ReceivedEvent] {
        var query = self.store.query(filters)
        while !query.isComplete { _ = query.examine(3, in: self.store, now: now) }
        let results = query.results(in: self.store).sorted {
            EventStore.Position($0.event) < EventStore.Position($1.event)
        }
        self.store.remove(expired: query.expired)
        return results
    }
    var count: Int { self.store.count }
    var bytes: Int { self.store.bytes }
}

@Suite("Event store")
struct EventStoreTests {
    let key = SecretKey.generate()
    let other = SecretKey.generate()

    static func ids(_ events: [ReceivedEvent]) -> [EventID] { events.map(\.event.id) }

    @Test("queries return the newest events first; since and until are inclusive")
    func queries() throws {
        let store = StoreBox(limits: RelayLimits())
        let events = try (0..<10).map { try makeEvent(self.key, createdAt: Int64(100 + $0), content: "\($0)") }
        for event in events.shuffled() { #expect(store.insert(event) == .stored) }
        #expect(store.insert(events[3]) == .duplicate)
        #expect(Self.ids(store.query([Filter()], now: 0)) == Self.ids(events.reversed()))
        #expect(Self.ids(store.query([Filter(limit: 2)], now: 0)) == Self.ids([events[9], events[8]]))
        #expect(store.query([Filter(limit: 0)], now: 0).isEmpty)
        #expect(
            Self.ids(store.query([Filter(since: 103, until: 105)], now: 0))
                == Self.ids([events[5], events[4], events[3]])
        )
        #expect(Self.ids(store.query([Filter(ids: [events[2].event.id])], now: 0)) == [events[2].event.id])
        #expect(store.query([Filter(authors: [self.other.publicKey])], now: 0).isEmpty)
        // An event that matches two filters is returned once.
        #expect(
            store.query([Filter(kinds: [.init(rawValue: 1)]), Filter(authors: [self.key.publicKey])], now: 0).count
                == 10
        )
    }

    @Test("only the newest replaceable or addressable event is kept; a missing d tag counts as empty")
    func replacing() throws {
        let store = StoreBox(limits: RelayLimits())
        let old = try makeEvent(self.key, kind: 10_002, createdAt: 10)
        let new = try makeEvent(self.key, kind: 10_002, createdAt: 20)
        #expect(store.insert(old) == .stored)
        #expect(store.insert(new) == .stored)
        #expect(store.insert(old) == .superseded)
        #expect(Self.ids(store.query([Filter()], now: 0)) == [new.event.id])

        let without = try makeEvent(self.key, kind: 38_333, createdAt: 10)
        let with = try makeEvent(self.key, kind: 38_333, createdAt: 11, tags: [Nostr.Tag("d", "")])
        let apart = try makeEvent(self.key, kind: 38_333, createdAt: 5, tags: [Nostr.Tag("d", "e\u{301}")])
        let composed = try makeEvent(self.key, kind: 38_333, createdAt: 4, tags: [Nostr.Tag("d", "\u{e9}")])
        for event in [without, with, apart, composed] { #expect(store.insert(event) == .stored) }
        #expect(store.query([Filter(kinds: [.exitAnnouncement])], now: 0).count == 3)
        var empty = Filter(kinds: [.exitAnnouncement])
        empty.tags[UInt8(ascii: "d")] = [""]
        #expect(Self.ids(store.query([empty], now: 0)) == [with.event.id])
        let bare = try makeEvent(self.other, kind: 38_333)
        #expect(store.insert(bare) == .stored)
        #expect(store.query([empty], now: 0).count == 2)
    }

    @Test("of replaceable events with the same date, the one with the lowest id is kept")
    func ties() throws {
        let store = StoreBox(limits: RelayLimits())
        let events = try (0..<4).map { try makeEvent(self.key, kind: 0, createdAt: 10, content: "\($0)") }
        for event in events { _ = store.insert(event) }
        let lowest = events.map { $0.event.id.bytes }.min()
        #expect(store.query([Filter()], now: 0).map { $0.event.id.bytes } == [lowest].compactMap { $0 })
    }

    @Test("authors can delete only their own events, and deleted events cannot be stored again")
    func deletions() throws {
        let store = StoreBox(limits: RelayLimits())
        let note = try makeEvent(self.key, content: "x")
        let foreign = try makeEvent(self.other, content: "y")
        #expect(store.insert(note) == .stored)
        #expect(store.insert(foreign) == .stored)
        let tags = [Nostr.Tag("e", ByteString(note.event.id.hex)), Nostr.Tag("e", ByteString(foreign.event.id.hex))]
        #expect(store.insert(try makeEvent(self.key, kind: 5, tags: tags)) == .stored)
        #expect(store.query([Filter(ids: [note.event.id])], now: 0).isEmpty)
        #expect(store.query([Filter(ids: [foreign.event.id])], now: 0).count == 1)
        #expect(store.insert(note) == .deleted)

        let address = ByteString("38333:\(self.key.publicKey.hex):a:b")
        let before = try makeEvent(self.key, kind: 38_333, createdAt: 100, tags: [Nostr.Tag("d", "a:b")])
        #expect(store.insert(before) == .stored)
        #expect(
            store.insert(try makeEvent(self.other, kind: 5, createdAt: 150, tags: [Nostr.Tag("a", address)])) == .stored
        )
        #expect(store.query([Filter(ids: [before.event.id])], now: 0).count == 1)
        #expect(
            store.insert(try makeEvent(self.key, kind: 5, createdAt: 150, tags: [Nostr.Tag("a", address)])) == .stored
        )
        #expect(store.query([Filter(ids: [before.event.id])], now: 0).isEmpty)
        #expect(store.insert(before) == .deleted)
        let after = try makeEvent(self.key, kind: 38_333, createdAt: 151, tags: [Nostr.Tag("d", "a:b")])
        #expect(store.insert(after) == .stored)
    }

    @Test("expired events are not returned")
    func expiration() throws {
        let store = StoreBox(limits: RelayLimits())
        let event = try makeEvent(self.key, tags: [Nostr.Tag("expiration", "50")])
        #expect(store.insert(event) == .stored)
        #expect(store.query([Filter()], now: 49).count == 1)
        #expect(store.query([Filter()], now: 50).isEmpty)
        #expect(store.count == 0)
    }

    @Test("the oldest events are dropped when the store exceeds its count or byte limit")
    func bounds() throws {
        var limits = RelayLimits()
        limits.storedEvents = 3
        var store = StoreBox(limits: limits)
        let events = try (0..<6).map { try makeEvent(self.key, createdAt: Int64($0)) }
        for event in events { _ = store.insert(event) }
        #expect(Self.ids(store.query([Filter()], now: 0)) == Self.ids([events[5], events[4], events[3]]))
        limits.storedEvents = 1_000
        limits.storedBytes = 3_000
        store = StoreBox(limits: limits)
        for index in 0..<50 {
            _ = store.insert(try makeEvent(self.key, createdAt: Int64(index), content: "0123456789"))
        }
        #expect(store.bytes <= 3_000)
        #expect(store.count > 3)
    }

    @Test("an event that is removed and stored again during a query is not among its results")
    func storedAgain() throws {
        var limits = RelayLimits()
        limits.storedEvents = 2
        var store = EventStore(limits: limits)
        let events = try (0..<4).map { try makeEvent(self.key, createdAt: Int64($0)) }
        for event in events.prefix(2) { #expect(store.insert(event) == .stored) }
        var query = store.query([Filter()])
        while !query.isComplete { _ = query.examine(1, in: store, now: 0) }
        // Events 0 and 1 make room. Event 1 is stored again, and delivered as a new one.
        for event in [events[2], events[3], events[1]] { #expect(store.insert(event) == .stored) }
        #expect(query.results(in: store).isEmpty)
    }
}

@Suite("Subscription index")
struct SubscriptionIndexTests {
    @Test("an event is found once for every subscription with a matching filter")
    func matching() throws {
        let alice = SecretKey.generate()
        let bob = SecretKey.generate()
        var index = SubscriptionIndex<String>()
        let everything = index.insert("everything", filters: [Filter()])
        _ = index.insert("alice", filters: [Filter(authors: [alice.publicKey]), Filter(kinds: [.init(rawValue: 4)])])
        _ = index.insert("to bob", filters: [Filter(kinds: [.tunnelMessage], recipients: [bob.publicKey], limit: 0)])
        _ = index.insert("notes", filters: [Filter(kinds: [.init(rawValue: 1)])])
        let tag = Nostr.Tag("p", ByteString(bob.publicKey.hex))
        let message = try makeEvent(alice, kind: 28_333, tags: [tag, tag]).event
        let note = try makeEvent(SecretKey.generate()).event
        _ = index.insert("this id", filters: [Filter(ids: [note.id, message.id])])
        func hits(_ event: Event) -> [String] {
            var found: [String] = []
            index.forEachCandidate(event) { _, subscriber, matches, _ in if matches { found.append(subscriber) } }
            return found.sorted()
        }
        // Messages of tunnels are only for those who ask for a recipient.
        #expect(hits(message) == ["to bob"])
        #expect(hits(try makeEvent(alice).event) == ["alice", "everything", "notes"])
        #expect(hits(try makeEvent(bob, kind: 4).event) == ["alice", "everything"])
        #expect(hits(try makeEvent(bob).event) == ["everything", "notes"])
        #expect(hits(note) == ["everything", "notes", "this id"])
        index.remove(everything)
        #expect(hits(try makeEvent(bob).event) == ["notes"])
        #expect(index.count == 4)
    }

    @Test("other events with the same recipient are not compared with a filter for tunnel messages")
    func recipientOfTunnels() throws {
        var index = SubscriptionIndex<Int>()
        let (key, exit) = (SecretKey.generate(), "aa")
        var filter = Filter(kinds: [.tunnelMessage])
        filter.tags = [UInt8(ascii: "p"): [ByteString(exit)]]
        _ = index.insert(1, filters: [filter])
        var compared: [Bool] = []
        for kind: UInt16 in [1, 28_333] {
            let event = try makeEvent(key, kind: kind, tags: [Nostr.Tag("p", ByteString(exit))]).event
            index.forEachCandidate(event) { _, _, matches, _ in compared.append(matches) }
        }
        #expect(compared == [true])
    }

    @Test("events of strangers are not compared with a filter for authors, whatever its other conditions")
    func strangers() throws {
        var index = SubscriptionIndex<Int>()
        let (friend, stranger, me) = (SecretKey.generate(), SecretKey.generate(), SecretKey.generate().publicKey)
        _ = index.insert(1, filters: [Filter(authors: [friend.publicKey], recipients: [me])])
        var compared: [Bool] = []
        let tags = [Nostr.Tag("p", ByteString(me.hex))]
        for (key, kind): (SecretKey, UInt16) in [(stranger, 1), (friend, 1), (friend, 28_333)] {
            let event = try makeEvent(key, kind: kind, tags: tags).event
            index.forEachCandidate(event) { _, _, matches, _ in compared.append(matches) }
        }
        #expect(compared == [true, true])
    }

    @Test("filters that cannot match are not even compared with events")
    func impossible() throws {
        var index = SubscriptionIndex<Int>()
        let key = SecretKey.generate()
        let filters = [
            Filter(ids: []), Filter(authors: []), Filter(kinds: []), Filter(since: 2_000, until: 1_999),
            Filter(kinds: [.tunnelMessage]), Filter(kinds: [.tunnelMessage], since: 5_000), Filter(since: 5_000),
        ]
        for (number, filter) in filters.enumerated() { _ = index.insert(number, filters: [filter], newest: 4_999) }
        var found: [Int] = []
        for kind: UInt16 in [1, 28_333] {
            index.forEachCandidate(try makeEvent(key, kind: kind).event) { _, number, _, _ in found.append(number) }
        }
        #expect(found.isEmpty)
        // Events that are dated so late can be accepted now.
        index.wake(newest: 5_000)
        let late = try makeEvent(key, createdAt: 5_000).event
        index.forEachCandidate(late) { _, number, matches, _ in if matches { found.append(number) } }
        #expect(found == [6])
    }

    @Test("a subscription that was removed before its time does not come back")
    func removedSleeper() throws {
        var index = SubscriptionIndex<Int>()
        let token = index.insert(1, filters: [Filter(since: 5_000)], newest: 1)
        index.remove(token)
        index.wake(newest: 9_000)
        var count = 0
        index.forEachCandidate(try makeEvent(SecretKey.generate(), createdAt: 6_000).event) { _, _, _, _ in count += 1 }
        #expect(count == 0)
    }

    @Test("removed subscriptions whose time has not come use no memory")
    func removedSleepers() {
        var index = SubscriptionIndex<Int>()
        for number in 0..<10_000 {
            let token = index.insert(number, filters: [Filter(since: 5_000), Filter(since: 6_000)], newest: 1)
            index.remove(token)
        }
        #expect(index.sleeperCount <= 4)
        let stays = index.insert(1, filters: [Filter(since: 5_000)], newest: 1)
        index.wake(newest: 5_000)
        #expect(index.sleeperCount == 0)
        #expect(index.remove(stays) == 1)
    }
}
