//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HeapModule
import Nostr
import NostrCrypto

/// Finds the subscriptions that match an event without checking every subscription.
///
/// A filter is indexed by its most selective condition (ids, a tag, authors or kinds, in this order), once for each
/// value of that condition. A lookup uses the id, tags, author and kind of the event, and then checks the complete
/// filters of the subscriptions that it found. Filters that cannot match any event that the relay accepts now are not
/// indexed.
///
/// Messages of tunnels (kind 28333) are found only by filters with `#p`: nobody else has a use for them, and there are
/// many.
struct SubscriptionIndex<Subscriber: Sendable>: Sendable {
    /// Identifies a subscription in the index.
    typealias Token = UInt64

    private enum Key: Hashable {
        case id(EventID)
        case tag(UInt8, ByteString)
        /// The recipient in a filter that matches messages of tunnels only.
        case tunnelRecipient(ByteString)
        case author(PublicKey)
        case kind(EventKind)
        case any
    }

    private struct Entry {
        let subscriber: Subscriber
        let filters: [Filter]
        /// Number of filters that wait for their time.
        var sleeping = 0
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

    /// Maximum number of sets of subscriptions that are searched one by one.
    private static var maximumSets: Int { 4 }
    private static var recipient: UInt8 { UInt8(ascii: "p") }

    private var entries: [Token: Entry] = [:]
    private var tokensByKey: [Key: Set<Token>] = [:]
    /// Those of subscriptions that were removed stay until they are half of all.
    private var sleepers = Heap<Sleeper>()
    private var removedSleepers = 0
    private var nextToken: Token = 0
    /// Whether tunnel messages are found only by filters with `#p`.
    private let limitsTunnelMessages: Bool

    init(limitsTunnelMessages: Bool = true) { self.limitsTunnelMessages = limitsTunnelMessages }

    /// Number of subscriptions.
    var count: Int { self.entries.count }
    /// Number of filters that are not indexed yet, with those that were removed and are still kept.
    var sleeperCount: Int { self.sleepers.count }

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

    /// Calls `body` once for each subscription whose filters were compared with `event`, with the result.
    ///
    /// - Parameters:
    ///   - tags: The tags of the event, if they are many.
    ///   - body: `cost` is the cost of the filters that did not match, in comparisons.
    func forEachCandidate(
        _ event: Event,
        _ tags: TagIndex? = nil,
        _ body: (Token, Subscriber, _ matches: Bool, _ cost: Int) -> Void
    ) {
        let isTunnelMessage = self.limitsTunnelMessages && event.kind == .tunnelMessage
        // A subscription may be indexed under several keys of the event, but must be visited only once. Few sets are searched
        // one by one, because joining them copies them.
        var visited: [Set<Token>] = []
        func visit(_ key: Key) {
            guard let tokens = self.tokensByKey[key] else { return }
            for token in tokens where !visited.contains(where: { $0.contains(token) }) {
                guard let entry = self.entries[token] else { continue }
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
            visited.append(tokens)
            if visited.count > Self.maximumSets {
                visited = [visited.dropFirst().reduce(into: visited[0]) { $0.formUnion($1) }]
            }
        }
        visit(.id(event.id))
        if !isTunnelMessage {
            visit(.author(event.pubkey))
            visit(.kind(event.kind))
            visit(.any)
        }
        if event.kind.retention == .addressable, event.identifier.bytes.isEmpty {
            visit(.tag(UInt8(ascii: "d"), ""))
        }
        for tag in event.tags {
            guard let letter = tag.indexedLetter, let value = tag.value else { continue }
            guard !isTunnelMessage || letter == Self.recipient else { continue }
            visit(.tag(letter, value))
            if isTunnelMessage { visit(.tunnelRecipient(value)) }
        }
    }

    private func keys(of filter: Filter) -> [Key] {
        // A filter's `limit` is ignored. It applies only to stored events, so even `limit: 0` gets live ones.
        if filter.matchesNothing { return [] }
        if let ids = filter.ids { return ids.map(Key.id) }
        let wantsTunnelMessages = self.limitsTunnelMessages && (filter.kinds?.contains(.tunnelMessage) ?? true)
        if wantsTunnelMessages, let recipients = filter.tags[Self.recipient] {
            // Other events with this recipient are then not compared with the filter.
            let isTunnelOnly = filter.kinds == [.tunnelMessage]
            return recipients.map { isTunnelOnly ? .tunnelRecipient($0) : .tag(Self.recipient, $0) }
        }
        if let (letter, values) = filter.tags.min(by: { ($0.value.count, $0.key) < ($1.value.count, $1.key) }) {
            return values.map { .tag(letter, $0) }
        }
        if let authors = filter.authors { return authors.map(Key.author) }
        // No event of this kind is looked up by its kind.
        if let kinds = filter.kinds {
            return kinds.filter { $0 != .tunnelMessage || !self.limitsTunnelMessages }.map(Key.kind)
        }
        return [.any]
    }
}
