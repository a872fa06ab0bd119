//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// Finds the subscriptions that match an event without checking every subscription.
///
/// A filter is indexed by its most selective condition (ids, a tag, authors or kinds, in this order), once for each
/// value of that condition. A lookup uses the id, tags, author and kind of the event, and then checks the complete
/// filters of the subscriptions that it found.
struct SubscriptionIndex<Subscriber: Sendable>: Sendable {
    /// Identifies a subscription in the index.
    typealias Token = UInt64

    private enum Key: Hashable {
        case id(EventID)
        case tag(UInt8, ByteString)
        case author(PublicKey)
        case kind(EventKind)
        case any
    }

    private struct Entry {
        let subscriber: Subscriber
        let filters: [Filter]
    }

    private var entries: [Token: Entry] = [:]
    private var tokensByKey: [Key: Set<Token>] = [:]
    private var nextToken: Token = 0

    /// Number of subscriptions.
    var count: Int { self.entries.count }

    /// Adds a subscription. The returned token removes it.
    mutating func insert(_ subscriber: Subscriber, filters: [Filter]) -> Token {
        let token = self.nextToken
        self.nextToken += 1
        self.entries[token] = Entry(subscriber: subscriber, filters: filters)
        for key in Self.keys(of: filters) {
            self.tokensByKey[key, default: []].insert(token)
        }
        return token
    }

    /// Removes a subscription. Does nothing if it was removed before.
    mutating func remove(_ token: Token) {
        guard let entry = self.entries.removeValue(forKey: token) else { return }
        for key in Self.keys(of: entry.filters) {
            self.tokensByKey[key]?.remove(token)
            if self.tokensByKey[key]?.isEmpty == true { self.tokensByKey[key] = nil }
        }
    }

    /// Calls `body` once for each subscription that has a filter that matches `event`.
    func forEachMatch(_ event: Event, _ body: (Subscriber) -> Void) {
        // A subscription may be indexed under several keys of the event, but must be visited only once. Duplicates are
        // possible only from the second key that has subscriptions.
        var seen: Set<Token> = []
        var isFirstHit = true
        func visit(_ key: Key) {
            guard let tokens = self.tokensByKey[key] else { return }
            let mayRepeat = !isFirstHit
            isFirstHit = false
            for token in tokens {
                if mayRepeat, seen.contains(token) { continue }
                seen.insert(token)
                guard let entry = self.entries[token], entry.filters.contains(where: { $0.matches(event) }) else {
                    continue
                }
                body(entry.subscriber)
            }
        }
        visit(.id(event.id))
        visit(.author(event.pubkey))
        visit(.kind(event.kind))
        visit(.any)
        if event.kind.retention == .addressable, event.identifier.bytes.isEmpty {
            visit(.tag(UInt8(ascii: "d"), ""))
        }
        for tag in event.tags {
            if let letter = tag.indexedLetter, let value = tag.value { visit(.tag(letter, value)) }
        }
    }

    private static func keys(of filters: [Filter]) -> Set<Key> {
        var keys: Set<Key> = []
        for filter in filters {
            // A filter's `limit` is ignored. It applies only to stored events, so even `limit: 0` gets live ones.
            if let ids = filter.ids {
                keys.formUnion(ids.map(Key.id))
            } else if let (letter, values) = filter.tags.min(by: { ($0.value.count, $0.key) < ($1.value.count, $1.key) }
            ) {
                keys.formUnion(values.map { Key.tag(letter, $0) })
            } else if let authors = filter.authors {
                keys.formUnion(authors.map(Key.author))
            } else if let kinds = filter.kinds {
                keys.formUnion(kinds.map(Key.kind))
            } else {
                keys.insert(.any)
            }
        }
        return keys
    }
}
