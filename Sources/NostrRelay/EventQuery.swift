//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr

/// A query for stored events. It examines some events at a time, so that a query which examines many holds the lock of the
/// relay only briefly, and can be paid for by its connection.
///
/// It finds the events that were stored when it began, and that still are.
struct EventQuery: Sendable {
    /// A list of positions to examine, newest first.
    typealias Source = [EventStore.Position]

    private struct Part: Sendable {
        let filter: Filter
        let limit: Int
        /// The sources that are not yet examined; all events that match the filter are in one of them.
        var sources: [Source]
        /// Index of the next position in the last source.
        var next = 0
        /// Number of matches in the last source.
        var matchesInSource = 0
        var matches: [EventStore.Position] = []
    }

    private var parts: [Part]
    private var finished: Set<EventID> = []
    /// Expired events that were found.
    private(set) var expired: [EventID] = []

    /// - Parameters:
    ///   - filters: Each one returns at most its `limit`, and at most `resultLimit`.
    ///   - store: The events.
    init(_ filters: [Filter], in store: EventStore, resultLimit: Int) {
        self.parts = filters.compactMap { filter in
            let limit = min(filter.limit ?? resultLimit, resultLimit)
            guard limit > 0, !filter.matchesNothing else { return nil }
            return Part(filter: filter, limit: limit, sources: store.sources(for: filter))
        }
    }

    /// Whether all events were examined.
    var isComplete: Bool { self.parts.isEmpty }

    /// Examines up to `count` events. Returns how many were examined.
    mutating func examine(_ count: Int, in store: EventStore, now: Int64) -> Int {
        var examined = 0
        while examined < count, !self.parts.isEmpty {
            examined += self.examineLastPart(count - examined, in: store, now: now)
        }
        return examined
    }

    private mutating func examineLastPart(_ count: Int, in store: EventStore, now: Int64) -> Int {
        let last = self.parts.count - 1
        guard let source = self.parts[last].sources.last else {
            self.finish(self.parts.removeLast())
            return 0
        }
        var part = self.parts[last]
        defer { self.parts[last] = part }
        var examined = 0
        while examined < count {
            guard part.next < source.count, part.matchesInSource < part.limit else { break }
            let position = source[part.next]
            if let since = part.filter.since, position.createdAt < since { break }
            part.next += 1
            examined += 1
            guard let event = store.event(position.id), part.filter.matches(event) else { continue }
            if let expiration = event.expiration, expiration <= now {
                self.expired.append(event.id)
                continue
            }
            part.matches.append(position)
            part.matchesInSource += 1
        }
        guard examined < count || part.next == source.count || part.matchesInSource == part.limit else {
            return examined
        }
        part.sources.removeLast()
        part.next = 0
        part.matchesInSource = 0
        return examined
    }

    /// Keeps the newest matches of a filter.
    private mutating func finish(_ part: Part) {
        self.finished.formUnion(part.matches.sorted().prefix(part.limit).map(\.id))
    }

    /// The events that were found, newest first. Call when the query is complete.
    func results(in store: EventStore) -> [ReceivedEvent] {
        self.finished.compactMap { store.received($0) }.sorted {
            EventStore.Position($0.event) < EventStore.Position($1.event)
        }
    }
}
