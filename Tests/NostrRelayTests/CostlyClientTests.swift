//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@testable import NostrRelay

@Suite("Clients that cost a relay more than others")
struct CostlyClientTests {
    private let author = Author()

    @Test("subscriptions that are compared with many events and never match end; those of other clients stay")
    func mismatches() throws {
        let relay = RelayHarness()
        let (costly, modest, writer) = (try relay.connect(), try relay.connect(), try relay.connect())
        for number in 0..<200 { #expect(try costly.subscribe("s\(number)", Query(kinds: [1], until: 1)).isEmpty) }
        #expect(try modest.subscribe("mine", Query(kinds: [1])).isEmpty)
        var closed = 0
        for number in 0..<300 {
            try writer.accepts(self.author.event("note \(number)"))
            closed += try costly.closedSubscriptions().count
        }
        // The first 200 events use up the allowance for 40,000 comparisons.
        #expect(closed == 200)
        #expect(try modest.live("mine").count == 300)
        #expect(try modest.closedSubscriptions().isEmpty)
    }

    @Test("a client that gets every event many times keeps one subscription that delivers it")
    func repetitions() throws {
        let relay = RelayHarness()
        let (costly, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<100 { _ = try costly.subscribe("s\(number)", Query(kinds: [1])) }
        var closed = 0
        for number in 0..<200 {
            try writer.accepts(self.author.event("note \(number)"))
            closed += try costly.closedSubscriptions().count
        }
        #expect((50..<100).contains(closed))
    }

    @Test("a query that examines many events, in several steps, finds an old one")
    func longQuery() throws {
        let relay = RelayHarness()
        let (reader, writer) = (try relay.connect(), try relay.connect())
        let first = try self.author.event("the oldest", at: RelayHarness.now - 10_000)
        try writer.accepts(first)
        for number in 0..<1_500 { try writer.accepts(self.author.event("note \(number)")) }
        #expect(try reader.subscribe("old", Query(until: RelayHarness.now - 9_000)) == [first.json])
        try writer.accepts(self.author.event("another", at: RelayHarness.now - 9_500))
        #expect(try reader.live("old").count == 1)
    }

    @Test("the memory of the filters of a connection is limited")
    func filterBytes() throws {
        var limits = RelayLimits()
        limits.filterBytes = 10_000
        let relay = RelayHarness(limits: limits)
        let client = try relay.connect()
        _ = try client.subscribe("small", Query(tags: ["t": ["red"]]))
        #expect(throws: MemoryClient.Failure.self) {
            try client.subscribe("large", Query(tags: ["t": [String(repeating: "x", count: 10_000)]]))
        }
    }
}
