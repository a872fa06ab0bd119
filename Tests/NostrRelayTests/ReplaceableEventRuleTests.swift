//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@Suite("Rules of replaceable and addressable events")
struct ReplaceableEventRuleTests {
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try RelayHarness().connect()
    }

    /// An older and a newer version of an event.
    private func versions(
        of author: Author,
        kind: UInt16,
        identifier: String = "x"
    ) throws -> (older: WrittenEvent, newer: WrittenEvent) {
        let tags = kind >= 30_000 ? [["d", identifier]] : []
        return (
            older: try author.event("older", kind: kind, at: RelayHarness.now - 20, tags: tags),
            newer: try author.event("newer", kind: kind, at: RelayHarness.now - 10, tags: tags)
        )
    }

    @Test("profiles and contact lists are stored", arguments: [0, 3] as [UInt16])
    func profiles(kind: UInt16) throws {
        let content = kind == 0 ? #"{"name":"somebody"}"# : ""
        let event = try self.author.event(content, kind: kind, tags: [["p", self.author.hex]])
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == event.json)
    }

    @Test(
        "a newer version replaces the older one, but no event of another author, kind or identifier",
        arguments: [0, 3, 10_003, 30_023] as [UInt16]
    )
    func newer(kind: UInt16) throws {
        let (older, newer) = try self.versions(of: self.author, kind: kind)
        let others = [
            try self.versions(of: self.other, kind: kind).older,
            try self.versions(of: self.author, kind: 30_024).older,
            try self.versions(of: self.author, kind: 30_023, identifier: "y").older,
        ]
        try self.client.accepts(others + [older, newer])
        #expect(try self.client.found(Query(ids: [older.id, newer.id])) == [newer.json])
        #expect(try Set(self.client.found(Query(ids: others.map(\.id)))) == Set(others.map(\.json)))
    }

    @Test("a replaced event cannot be found by its id", arguments: [0, 3, 10_003, 30_023] as [UInt16])
    func replaced(kind: UInt16) throws {
        let (older, newer) = try self.versions(of: self.author, kind: kind)
        try self.client.accepts(older)
        #expect(try self.client.stored(older) == older.json)
        try self.client.accepts(newer)
        #expect(try self.client.stored(older) == nil)
    }

    @Test("an older version is rejected after the newer one", arguments: [10_003, 30_023] as [UInt16])
    func older(kind: UInt16) throws {
        let (older, newer) = try self.versions(of: self.author, kind: kind)
        #expect(try self.client.subscribe("live", self.author.query()).isEmpty)
        try self.client.accepts(newer)
        try self.client.rejects(older, .invalid)
        #expect(try self.client.found(self.author.query()) == [newer.json])
        #expect(try self.client.live("live") == [newer.json])
    }

    @Test(
        "of two versions of one second, the one with the lower id is kept",
        arguments: [10_003, 30_023] as [UInt16],
        [true, false]
    )
    func ties(kind: UInt16, lowerComesFirst: Bool) throws {
        let events = try ["one", "two"].map {
            try self.author.event($0, kind: kind, at: 1_700_000_000, tags: [["d", "x"]])
        }
        let sorted = events.sorted { $0.id < $1.id }
        let (lower, higher) = (sorted[0], sorted[1])
        if lowerComesFirst {
            try self.client.accepts(lower)
            try self.client.rejects(higher, .invalid)
        } else {
            try self.client.accepts([higher, lower])
        }
        #expect(try self.client.found(self.author.query()) == [lower.json])
    }

    @Test("the newest version of a replaceable event is found by author and kind")
    func findsReplaceable() throws {
        let (older, newer) = try self.versions(of: self.author, kind: 10_003)
        try self.client.accepts([older, newer])
        #expect(try self.client.found(self.author.query(kinds: [10_003])) == [newer.json])
    }

    @Test("the newest version of an addressable event is found by kind and identifier, a missing one being empty")
    func findsAddressable() throws {
        let (older, newer) = try self.versions(of: self.author, kind: 30_023)
        try self.client.accepts([older, newer])
        #expect(try self.client.found(self.author.query(kinds: [30_023])) == [newer.json])
        #expect(try self.client.found(self.author.query(kinds: [30_023], tags: ["d": ["x"]])) == [newer.json])
        let nameless = try self.author.event("nameless", kind: 30_023, at: RelayHarness.now - 30)
        try self.client.accepts(nameless)
        #expect(try self.client.found(self.author.query(kinds: [30_023], tags: ["d": [""]])) == [nameless.json])
        #expect(try self.client.found(self.author.query(kinds: [30_023])) == [newer.json, nameless.json])
    }
}
