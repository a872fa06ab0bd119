//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr

/// A query for stored events. It examines some events at a time, so that a query which examines many holds the lock of the
/// relay only briefly, and can be paid for by its connection. A query that waits holds nothing but its filters.
///
/// It finds the events that were stored when it began, and that still are.
struct EventQuery: Sendable {
    private struct Part: Sendable {
        let filter: Filter
        let limit: Int
        /// The lists that are not yet examined; all events that match the filter are in one of them. Nil before the first
        /// step.
        var sources: [EventStore.Source]?
        /// The last position that was examined in the last source.
        var examined: EventStore.Position?
        /// Number of matches in the last source.
        var matchesInSource = 0
        var matches: [EventStore.Position] = []
    }

    private var parts: [Part]
    /// Events that were stored later are not found.
    private let end: EventStore.Serial
    private var finished: Set<EventID> = []
    /// Expired events that were found.
    private(set) var expired: [EventID] = []

    /// - Parameters:
    ///   - filters: Each one returns at most its `limit`, and at most `resultLimit`.
    ///   - end: The serial number of the next event in the store.
    init(_ filters: [Filter], before end: EventStore.Serial, resultLimit: Int) {
        self.end = end
        self.parts = filters.compactMap { filter in
            let limit = min(filter.limit ?? resultLimit, resultLimit)
            guard limit > 0, !filter.matchesNothing else { return nil }
            return Part(filter: filter, limit: limit)
        }
    }

    /// Whether all events were examined.
    var isComplete: Bool { self.parts.isEmpty }

    /// Examines events until their cost reaches `count`. Returns the cost: one for each event and each list, and a quarter of
    /// the number of tags that were compared. It may exceed `count`.
    mutating func examine(_ count: Int, in store: EventStore, now: Int64) -> Int {
        var examined = 0
        while examined < count, !self.parts.isEmpty {
            examined += self.examineLastPart(count - examined, in: store, now: now)
        }
        return examined
    }

    private mutating func examineLastPart(_ count: Int, in store: EventStore, now: Int64) -> Int {
        let last = self.parts.count - 1
        if self.parts[last].sources == nil { self.parts[last].sources = store.sources(for: self.parts[last].filter) }
        guard let source = self.parts[last].sources?.last else {
            self.finish(self.parts.removeLast())
            return 0
        }
        var part = self.parts[last]
        // Owned by the local variable only, so that its arrays are not copied.
        self.parts.removeLast()
        defer { self.parts.append(part) }
        let positions = store.positions(in: source)
        var next = positions.start(after: part.examined, until: part.filter.until)
        // A list without a match has a cost, too.
        var examined = 1
        while examined <= count, next < positions.count, part.matchesInSource < part.limit {
            let position = positions[next]
            if let since = part.filter.since, position.createdAt < since {
                next = positions.count
                break
            }
            next += 1
            examined += 1
            part.examined = position
            // Events with many tags cost more.
            guard let event = store.event(position.id, before: self.end),
                part.filter.matches(event, nil, comparisons: &examined)
            else { continue }
            if let expiration = event.expiration, expiration <= now {
                self.expired.append(event.id)
                continue
            }
            part.matches.append(position)
            part.matchesInSource += 1
        }
        if next >= positions.count || part.matchesInSource == part.limit {
            part.sources?.removeLast()
            part.examined = nil
            part.matchesInSource = 0
        }
        return examined
    }

    /// Keeps the newest matches of a filter.
    private mutating func finish(_ part: Part) {
        self.finished.formUnion(part.matches.sorted().prefix(part.limit).map(\.id))
    }

    /// The events that were found, in any order. Call when the query is complete.
    ///
    /// An event that was removed and stored again since is left out: it was delivered as a new one.
    func results(in store: EventStore) -> [ReceivedEvent] {
        self.finished.compactMap { store.event($0, before: self.end) == nil ? nil : store.received($0) }
    }
}
