//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@Suite("Rules of filters")
struct FilterRuleTests {
    private let client: MemoryClient
    private let anna: Author
    private let bert: Author
    /// Events from newest to oldest.
    private let answer: WrittenEvent
    private let note: WrittenEvent
    private let article: WrittenEvent
    private let profile: WrittenEvent
    private let question: WrittenEvent

    init() throws {
        let client = try RelayHarness().connect()
        let (anna, bert) = (Author(), Author())
        let (toAnna, toBert) = (["p", anna.hex], ["p", bert.hex])
        let red = ["t", "red"]
        let blue = ["t", "blue"]
        let date: Int64 = 1_700_000_000
        self.answer = try bert.event("answer", at: date, tags: [red, toAnna, ["x", "1"]])
        self.note = try anna.event("note", at: date - 1, tags: [red, blue, toBert])
        self.article = try anna.event("article", kind: 30_023, at: date - 2, tags: [["d", "one"], red, toBert])
        self.profile = try anna.event("profile", kind: 0, at: date - 3)
        self.question = try bert.event("question", at: date - 4, tags: [blue, ["r", "red"]])
        self.client = client
        self.anna = anna
        self.bert = bert
        try client.accepts([self.answer, self.note, self.article, self.profile, self.question].shuffled())
    }

    /// Expects that a filter finds these events in this order.
    private func expect(
        _ query: Query,
        finds events: WrittenEvent...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let found = try self.client.found(query)
        #expect(found == events.map(\.json), "\(query.json)", sourceLocation: sourceLocation)
    }

    @Test("events are found by id")
    func ids() throws {
        try self.expect(Query(ids: [self.note.id]), finds: self.note)
        try self.expect(Query(ids: [self.profile.id, self.answer.id]), finds: self.answer, self.profile)
        try self.expect(Query(ids: [String(repeating: "0", count: 64)]))
        try self.expect(Query(ids: []))
    }

    @Test("events are found by author")
    func authors() throws {
        try self.expect(self.anna.query(), finds: self.note, self.article, self.profile)
        try self.expect(Query(authors: [String(self.anna.hex.reversed())]))
    }

    @Test("events are found by author and kind")
    func authorsAndKinds() throws {
        let (anna, bert) = (self.anna, self.bert)
        try self.expect(anna.query(kinds: [1]), finds: self.note)
        try self.expect(
            Query(authors: [anna.hex, bert.hex], kinds: [30_023, 0]),
            finds: self.article,
            self.profile
        )
        try self.expect(bert.query(kinds: [0]))
    }

    @Test("events are found by author and tag")
    func authorsAndTags() throws {
        try self.expect(self.anna.query(tags: ["t": ["red"]]), finds: self.note, self.article)
        try self.expect(self.bert.query(tags: ["p": [self.bert.hex]]))
    }

    @Test("events are found by kind and tag")
    func kindsAndTags() throws {
        try self.expect(Query(kinds: [1], tags: ["t": ["red"]]), finds: self.answer, self.note)
        try self.expect(Query(kinds: [30_023], tags: ["d": ["one"]]), finds: self.article)
        try self.expect(Query(kinds: [30_023], tags: ["d": ["two"]]))
    }

    @Test("events are found by any value of a tag, if it is equal")
    func tags() throws {
        try self.expect(Query(tags: ["t": ["red"]]), finds: self.answer, self.note, self.article)
        try self.expect(
            Query(tags: ["t": ["red", "blue"]]),
            finds: self.answer,
            self.note,
            self.article,
            self.question
        )
        try self.expect(Query(tags: ["r": ["red"]]), finds: self.question)
        try self.expect(Query(tags: ["t": ["re"]]))
    }

    @Test("events are found by several tags, if they have all of them")
    func severalTags() throws {
        let (toAnna, toBert) = ([self.anna.hex], [self.bert.hex])
        try self.expect(Query(tags: ["t": ["red"], "p": toBert]), finds: self.note, self.article)
        try self.expect(Query(tags: ["t": ["red"], "p": toAnna, "x": ["1"]]), finds: self.answer)
        try self.expect(Query(tags: ["t": ["blue"], "p": toAnna]))
    }

    @Test("an empty filter finds everything")
    func everything() throws {
        try self.expect(Query(), finds: self.answer, self.note, self.article, self.profile, self.question)
    }

    @Test("an event that two filters find comes once")
    func twoFilters() throws {
        let found = try self.client.found(self.bert.query(), Query(tags: ["t": ["red"]]))
        #expect(found == [self.answer, self.note, self.article, self.question].map(\.json))
    }

    @Test("the newest event comes first, and of events of one second the one with the lowest id")
    func order() throws {
        let author = Author()
        var ordered: [WrittenEvent] = []
        for second in (0..<4).reversed() {
            let date = 1_700_000_000 + Int64(second)
            let events = try (0..<3).map { try author.event("\(second) \($0)", at: date) }
            ordered += events.sorted { $0.id < $1.id }
        }
        try self.client.accepts(ordered.shuffled())
        #expect(try self.client.found(author.query()) == ordered.map(\.json))
        #expect(try self.client.found(Query(ids: ordered.map(\.id).shuffled())) == ordered.map(\.json))
    }

    @Test("a limit leaves the newest events")
    func limit() throws {
        let author = Author()
        let events = try (0..<8).map { number in
            let parity = number.isMultiple(of: 2) ? "even" : "odd"
            return try author.event("\(number)", at: 1_700_000_000 - Int64(number), tags: [["t", parity]])
        }
        try self.client.accepts(events.shuffled())
        let all = events.map(\.json)
        #expect(try self.client.found(author.query(limit: 2)) == [all[0], all[1]])
        #expect(try self.client.found(author.query(tags: ["t": ["odd"]], limit: 3)) == [all[1], all[3], all[5]])
        #expect(try self.client.found(author.query(until: 1_700_000_000 - 4, limit: 2)) == [all[4], all[5]])
        #expect(try self.client.found(author.query(limit: 100)) == all)
    }

    @Test("since and until are inclusive, for stored and for live events")
    func dates() throws {
        let author = Author()
        let events = try (0..<5).map { try author.event("\($0)", at: 1_700_000_000 - Int64($0)) }
        try self.client.accepts(events)
        let all = events.map(\.json)
        let middle: Int64 = 1_700_000_000 - 2
        #expect(try self.client.found(author.query(since: middle)) == [all[0], all[1], all[2]])
        #expect(try self.client.found(author.query(until: middle)) == [all[2], all[3], all[4]])
        #expect(try self.client.found(author.query(since: middle, until: middle)) == [all[2]])
        #expect(try self.client.found(author.query(since: middle + 1, until: middle)).isEmpty)
        #expect(try self.client.subscribe("live", author.query(since: 100, until: 101)).isEmpty)
        let late = try (99...102).map { try author.event("late", at: Int64($0)) }
        try self.client.accepts(late)
        #expect(try self.client.live("live") == [late[1].json, late[2].json])
    }

    @Test("since and until may be negative")
    func negativeDates() throws {
        let author = Author()
        let event = try author.event("a note", at: 0)
        try self.client.accepts(event)
        #expect(try self.client.found(author.query(since: -1)) == [event.json])
        #expect(try self.client.found(author.query(since: -Int64.max, until: 0)) == [event.json])
        #expect(try self.client.found(author.query(until: -1)).isEmpty)
    }

    @Test("a filter with a part of an id or of an author is rejected")
    func prefixes() throws {
        let queries = [
            Query(ids: [String(self.note.id.prefix(16))]), Query(authors: [String(self.anna.hex.prefix(16))]),
            Query(ids: [String(self.note.id.prefix(63))]),
        ]
        for query in queries {
            #expect(try self.client.request("prefix", [query]).refusal?.prefix == .invalid, "\(query.json)")
        }
    }

    @Test("kinds of more than sixteen bits are allowed in a filter and match nothing")
    func largeKinds() throws {
        #expect(try self.client.found(self.anna.query(kinds: [65_537, 4_294_967_297])).isEmpty)
        try self.expect(self.anna.query(kinds: [65_537, 1]), finds: self.note)
    }
}
