//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HeapModule
import Nostr
import NostrCrypto

/// Finds the subscriptions that match an event without checking every subscription.
///
/// A filter is indexed by ids, authors, a tag or kinds, whichever it has first in this order, once for each value. An
/// author or a tag is combined with each kind if there are few combinations. A lookup uses the id, author, tags and kind
/// of the event, and then checks the complete filters of the subscriptions that it found. Authors come before tags,
/// because strangers can use any tag and so cause such checks in vain. Filters that cannot match any event that the relay
/// accepts now are not indexed.
///
/// Messages of tunnels (kind 28333) are found only by filters with `#p`, and only by the first `p` tag, which names their
/// recipient: nobody else has a use for them, and there are many. A filter that selects tunnel messages and other events has
/// keys for both.
struct SubscriptionIndex<Subscriber: Sendable>: Sendable {
    /// Identifies a subscription in the index.
    typealias Token = UInt64

    private enum Key: Hashable {
        case id(EventID)
        case tag(UInt8, ByteString)
        case tagOfKind(UInt8, ByteString, EventKind)
        case author(PublicKey)
        case authorOfKind(PublicKey, EventKind)
        case kind(EventKind)
        case any
    }

    private struct Entry {
        let subscriber: Subscriber
        let filters: [Filter]
        /// Number of filters that wait for their time.
        var sleeping = 0
        /// The number of the last event with which the filters were compared.
        var lastEvent: UInt64 = 0
        /// How often events have led to the subscription again. Not each time is charged.
        var repetitions = 0
    }

    /// A filter for events that are dated too far in the future to be accepted now.
    private struct Sleeper: Comparable {
        /// Seconds since 1970.
        let wakes: Int64
        let token: Token
        /// The index of the filter.
        let filter: Int

        static func < (left: Sleeper, right: Sleeper) -> Bool { left.wakes < right.wakes }
    }

    /// Number of times that events find a subscription again for the cost of one comparison.
    private static var repetitionsPerComparison: Int { 4 }
    /// Maximum number of keys for each value of a filter whose values are combined with its kinds.
    private static var keysPerValue: Int { 2 }
    private static var recipient: UInt8 { UInt8(ascii: "p") }

    private var entries: [Token: Entry] = [:]
    private var tokensByKey: [Key: Set<Token>] = [:]
    /// Those of subscriptions that were removed stay until they are half of all.
    private var sleepers = Heap<Sleeper>()
    private var removedSleepers = 0
    private var nextToken: Token = 0
    private var lastEvent: UInt64 = 0
    /// Whether tunnel messages are found only by filters with `#p`.
    private let limitsTunnelMessages: Bool

    init(limitsTunnelMessages: Bool = true) { self.limitsTunnelMessages = limitsTunnelMessages }

    /// Number of subscriptions.
    var count: Int { self.entries.count }
    /// Number of filters that are not indexed yet, with those that were removed and are still kept.
    var sleeperCount: Int { self.sleepers.count }

    /// Whether the subscription was not removed.
    func contains(_ token: Token) -> Bool { self.entries[token] != nil }

    /// Adds a subscription. The returned token removes it.
    ///
    /// - Parameter newest: The latest date of an event that the relay accepts now, in seconds since 1970.
    mutating func insert(_ subscriber: Subscriber, filters: [Filter], newest: Int64 = .max) -> Token {
        let token = self.nextToken
        self.nextToken += 1
        var entry = Entry(subscriber: subscriber, filters: filters)
        for (number, filter) in filters.enumerated() {
            if let since = filter.since, since > newest {
                self.sleepers.insert(Sleeper(wakes: since, token: token, filter: number))
                entry.sleeping += 1
            } else {
                self.add(filter, token)
            }
        }
        self.entries[token] = entry
        return token
    }

    private mutating func add(_ filter: Filter, _ token: Token) {
        for key in self.keys(of: filter) { self.tokensByKey[key, default: []].insert(token) }
    }

    /// Adds the filters whose time has come.
    ///
    /// - Parameter newest: The latest date of an event that the relay accepts now, in seconds since 1970.
    mutating func wake(newest: Int64) {
        while let first = self.sleepers.min, first.wakes <= newest {
            self.sleepers.removeMin()
            guard let entry = self.entries[first.token] else {
                self.removedSleepers -= 1
                continue
            }
            self.entries[first.token]?.sleeping -= 1
            self.add(entry.filters[first.filter], first.token)
        }
    }

    /// Removes a subscription. Returns nil if it was removed before.
    @discardableResult
    mutating func remove(_ token: Token) -> Subscriber? {
        guard let entry = self.entries.removeValue(forKey: token) else { return nil }
        self.removedSleepers += entry.sleeping
        if self.removedSleepers > self.sleepers.count / 2 {
            self.sleepers = Heap(self.sleepers.unordered.filter { self.entries[$0.token] != nil })
            self.removedSleepers = 0
        }
        for key in Set(entry.filters.flatMap { self.keys(of: $0) }) {
            self.tokensByKey[key]?.remove(token)
            if self.tokensByKey[key]?.isEmpty == true { self.tokensByKey[key] = nil }
        }
        return entry.subscriber
    }

    /// Compares the filters of each subscription that `event` may concern, once. Calls `body` with the result, and again for
    /// the cost of finding a subscription by many tags.
    ///
    /// - Parameters:
    ///   - tags: The tags of the event, if they are many.
    ///   - body: `cost` is the cost of what did not match, in comparisons.
    mutating func forEachCandidate(
        _ event: Event,
        _ tags: TagIndex? = nil,
        _ body: (Token, Subscriber, _ matches: Bool, _ cost: Int) -> Void
    ) {
        let isTunnelMessage = self.limitsTunnelMessages && event.kind == .tunnelMessage
        self.lastEvent += 1
        func visit(_ key: Key) {
            for token in self.tokensByKey[key] ?? [] { self.compare(token, event, tags, isTunnelMessage, body) }
        }
        visit(.id(event.id))
        func visit(_ letter: UInt8, _ value: ByteString) {
            visit(.tag(letter, value))
            visit(.tagOfKind(letter, value, event.kind))
        }
        if isTunnelMessage {
            if let recipient = event.firstValue(of: "p") { visit(.tagOfKind(Self.recipient, recipient, event.kind)) }
            return
        }
        visit(.author(event.pubkey))
        visit(.authorOfKind(event.pubkey, event.kind))
        visit(.kind(event.kind))
        visit(.any)
        // Equal tags count once: their number must not cost the subscribers anything.
        if let tags {
            tags.forEach(visit)
        } else {
            for (number, tag) in event.tags.enumerated() {
                guard let letter = tag.indexedLetter, let value = tag.value,
                    !event.tags.prefix(number).contains(where: { $0.indexedLetter == letter && $0.value == value })
                else { continue }
                visit(letter, value)
            }
        }
        let identifier = UInt8(ascii: "d")
        if event.kind.retention == .addressable, event.identifier.bytes.isEmpty,
            !event.tags.contains(where: { $0.indexedLetter == identifier && $0.value == "" })
        {
            visit(identifier, "")
        }
    }

    private mutating func compare(
        _ token: Token,
        _ event: Event,
        _ tags: TagIndex?,
        _ isTunnelMessage: Bool,
        _ body: (Token, Subscriber, _ matches: Bool, _ cost: Int) -> Void
    ) {
        guard let index = self.entries.index(forKey: token) else { return }
        let entry = self.entries.values[index]
        guard entry.lastEvent != self.lastEvent else {
            // The cost is too small to be charged each time.
            self.entries.values[index].repetitions += 1
            if (entry.repetitions + 1).isMultiple(of: Self.repetitionsPerComparison) {
                body(token, entry.subscriber, false, 1)
            }
            return
        }
        self.entries.values[index].lastEvent = self.lastEvent
        var cost = 0
        let matches = entry.filters.contains { filter in
            guard !isTunnelMessage || filter.tags[Self.recipient] != nil else { return false }
            var comparisons = 1
            let matches = filter.matches(event, tags, comparisons: &comparisons)
            if !matches { cost += comparisons }
            return matches
        }
        body(token, entry.subscriber, matches, cost)
    }

    private func keys(of filter: Filter) -> [Key] {
        // A filter's `limit` is ignored. It applies only to stored events, so even `limit: 0` gets live ones.
        if filter.matchesNothing { return [] }
        if let ids = filter.ids { return ids.map(Key.id) }
        var keys: [Key] = []
        let wantsTunnelMessages = self.limitsTunnelMessages && (filter.kinds?.contains(.tunnelMessage) ?? true)
        if wantsTunnelMessages, let recipients = filter.tags[Self.recipient] {
            keys = recipients.map { .tagOfKind(Self.recipient, $0, .tunnelMessage) }
            if filter.kinds?.count == 1 { return keys }
        }
        return keys + self.keysOfOthers(filter)
    }

    /// The keys of a filter for events that are no messages of tunnels.
    private func keysOfOthers(_ filter: Filter) -> [Key] {
        if let authors = filter.authors {
            guard let kinds = self.combinedKinds(of: filter, authors.count) else { return authors.map(Key.author) }
            return authors.flatMap { author in kinds.map { .authorOfKind(author, $0) } }
        }
        if let (letter, values) = filter.tags.min(by: { ($0.value.count, $0.key) < ($1.value.count, $1.key) }) {
            return self.keys(of: filter, letter, values)
        }
        // No event of this kind is looked up by its kind.
        if let kinds = filter.kinds {
            return kinds.filter { $0 != .tunnelMessage || !self.limitsTunnelMessages }.map(Key.kind)
        }
        return [.any]
    }

    private func keys(of filter: Filter, _ letter: UInt8, _ values: Set<ByteString>) -> [Key] {
        guard let kinds = self.combinedKinds(of: filter, values.count) else { return values.map { .tag(letter, $0) } }
        return values.flatMap { value in kinds.map { .tagOfKind(letter, value, $0) } }
    }

    /// The kinds of a filter, if it is indexed by their combinations with `count` values.
    private func combinedKinds(of filter: Filter, _ count: Int) -> Set<EventKind>? {
        guard let kinds = filter.kinds, count * kinds.count <= Self.keysPerValue * filter.valueCount
        else { return nil }
        return kinds
    }
}
