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
        // The first 50 events use up the allowance for 10,000 comparisons.
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
        let first = try self.author.event("the oldest", at: RelayHarness.now - 10_000, tags: [["t", "old"]])
        try writer.accepts(first)
        for number in 0..<1_500 { try writer.accepts(self.author.event("note \(number)")) }
        #expect(try reader.subscribe("old", Query(tags: ["t": ["old"]])) == [first.json])
        try writer.accepts(self.author.event("another", at: RelayHarness.now - 9_500, tags: [["t", "old"]]))
        #expect(try reader.live("old").count == 1)
    }

    @Test("an event that comes while a query waits for its turn is delivered once")
    func eventDuringQuery() throws {
        let relay = RelayHarness(storedEvents: 1_000)
        let (reader, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<900 { try writer.accepts(self.author.event("note \(number)")) }
        #expect(try reader.subscribe("a", Query(tags: ["t": ["red"]])).isEmpty)
        try reader.send(##"["REQ","late",{"#t":["red"]}]"##)
        let event = try self.author.event("red", tags: [["t", "red"]])
        try writer.accepts(event)
        relay.advance(by: 10)
        #expect(try reader.live("late") == [event.json])
        #expect(try reader.live("a") == [event.json])
    }

    @Test("short queries count against the limit on examined events, too")
    func shortQueries() throws {
        let relay = RelayHarness(storedEvents: 1_000)
        let (reader, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<400 { try writer.accepts(self.author.event("note \(number)")) }
        for name in ["a", "b", "c"] { #expect(try reader.subscribe(name, Query(tags: ["t": ["red"]])).isEmpty) }
        #expect(throws: MemoryClient.Failure.noEndOfStoredEvents(subscription: "d")) {
            try reader.subscribe("d", Query(tags: ["t": ["red"]]))
        }
    }

    @Test("while many connections cost too much together, one that costs little keeps its subscription")
    func innocent() throws {
        let relay = RelayHarness()
        let costly = try (0..<25).map { _ in try relay.connect() }
        let (modest, writer) = (try relay.connect(), try relay.connect())
        for client in costly {
            for number in 0..<80 { #expect(try client.subscribe("s\(number)", Query(kinds: [1], until: 1)).isEmpty) }
        }
        #expect(try modest.subscribe("mine", Query(kinds: [1], until: 1)).isEmpty)
        var closed = 0
        // 2,000 comparisons each. The total is used up before the allowance of any connection.
        for number in 0..<450 {
            try writer.accepts(self.author.event("note \(number)"))
            for client in costly { closed += try client.closedSubscriptions().count }
        }
        #expect(closed > 1_000)
        #expect(try modest.closedSubscriptions().isEmpty)
    }

    @Test("while many connections query too much together, one that asks for little is answered, and the others wait")
    func queriesOfAll() throws {
        let relay = RelayHarness(storedEvents: 5_000)
        let writer = try relay.connect()
        for number in 0..<900 { try writer.accepts(self.author.event("note \(number)")) }
        let red = Query(tags: ["t": ["red"]])
        // Each query examines 900 events. These use up what is for all connections together, 200,000.
        for queries in Array(repeating: 5, count: 44) + [2] {
            let costly = try relay.connect()
            for number in 0..<queries { #expect(try costly.subscribe("s\(number)", red).isEmpty) }
        }
        // What is guaranteed to a connection is enough for one.
        let modest = try relay.connect()
        #expect(try modest.subscribe("first", red).isEmpty)
        #expect(throws: MemoryClient.Failure.noEndOfStoredEvents(subscription: "second")) {
            try modest.subscribe("second", red)
        }
        relay.advance(by: 5)
        #expect(try modest.subscribe("third", red).isEmpty)
    }

    @Test("while many connections cost too much together, none keeps subscriptions by causing the cost slowly")
    func slowlyCostly() throws {
        let relay = RelayHarness()
        let costly = try (0..<30).map { _ in try relay.connect() }
        let (modest, writer) = (try relay.connect(), try relay.connect())
        for client in costly {
            for number in 0..<90 { #expect(try client.subscribe("s\(number)", Query(kinds: [1], until: 1)).isEmpty) }
        }
        #expect(try modest.subscribe("mine", Query(kinds: [1], until: 1)).isEmpty)
        var closed = 0
        // 100 events a second: 9,000 comparisons for each connection, which is less than its own limit.
        for number in 0..<600 {
            try writer.accepts(self.author.event("note \(number)"))
            relay.advance(milliseconds: 10)
            for client in costly { closed += try client.closedSubscriptions().count }
        }
        #expect(closed > 200)
        #expect(try modest.closedSubscriptions().isEmpty)
    }

    @Test("subscriptions whose filters are compared with many tags end soon; a modest one stays")
    func manyTags() throws {
        let relay = RelayHarness()
        let (costly, modest, writer) = (try relay.connect(), try relay.connect(), try relay.connect())
        // The first condition, by which the filters are indexed, is met; the second one is not.
        let values = (0..<500).map { "nope \($0)" }
        for number in 0..<20 {
            #expect(try costly.subscribe("s\(number)", Query(tags: ["b": values, "A": ["x"]])).isEmpty)
        }
        #expect(try modest.subscribe("mine", Query(tags: ["A": ["x"]])).isEmpty)
        let tags = [["A", "x"]] + (0..<600).map { ["b", "\($0)"] }
        var closed = 0
        for number in 0..<10 {
            try writer.accepts(self.author.event("note \(number)", tags: tags))
            closed += try costly.closedSubscriptions().count
        }
        #expect(closed == 20)
        #expect(try modest.live("mine").count == 10)
    }

    @Test("a query is charged for the tags that it compares")
    func manyTagsInQueries() throws {
        let relay = RelayHarness(storedEvents: 2_200)
        let (reader, writer) = (try relay.connect(), try relay.connect())
        let tags = (0..<400).map { ["b", "\($0)"] }
        for number in 0..<20 { try writer.accepts(self.author.event("note \(number)", tags: tags)) }
        #expect(try reader.subscribe("a", Query(tags: ["b": ["nope"]])).isEmpty)
        #expect(throws: MemoryClient.Failure.noEndOfStoredEvents(subscription: "b")) {
            try reader.subscribe("b", Query(tags: ["b": ["nope"]]))
        }
    }

    @Test("every 50 values of filters count as one filter")
    func manyValues() throws {
        let relay = RelayHarness()
        let client = try relay.connect()
        let query = Query(tags: ["b": (0..<1_900).map { "\($0)" }])
        for _ in 0..<11 { _ = try client.subscribe("large", query) }
        #expect(throws: MemoryClient.Failure.self) { try client.subscribe("large", query) }
    }

    @Test("events that meet only one of a filter's conditions cost the subscriber nothing")
    func otherKinds() throws {
        let relay = RelayHarness()
        let (reader, writer) = (try relay.connect(), try relay.connect())
        let me = Author().hex
        for kind in 1...10 {
            #expect(try reader.subscribe("kind \(kind)", Query(kinds: [kind], tags: ["p": [me]])).isEmpty)
        }
        for number in 0..<1_500 {
            try writer.accepts(self.author.event("\(number)", kind: 20_999, tags: [["p", me]]))
        }
        #expect(try reader.closedSubscriptions().isEmpty)
        let mention = try self.author.event("mention", tags: [["p", me]])
        try writer.accepts(mention)
        #expect(try reader.live("kind 1") == [mention.json])
    }

    @Test("subscriptions that an event finds by thousands of tags end soon")
    func manyTagsFound() throws {
        let relay = RelayHarness()
        let writer = try relay.connect()
        let costly = try (0..<8).map { _ in try relay.connect() }
        let values = (0..<1_900).map { "\($0)" }
        for client in costly {
            for name in ["a", "b", "c", "d"] {
                #expect(try client.subscribe(name, Query(tags: ["b": values], until: 1)).isEmpty)
            }
        }
        var closed = 0
        for number in 0..<30 {
            try writer.accepts(self.author.event("\(number)", kind: 20_000, tags: values.map { ["b", $0] }))
            for client in costly { closed += try client.closedSubscriptions().count }
        }
        #expect(closed >= 16)
    }

    @Test("a message of a tunnel is delivered to the first key that it names, also while subscriptions are replaced")
    func tunnelMessages() throws {
        let relay = RelayHarness()
        let (node, other, writer) = (try relay.connect(), try relay.connect(), try relay.connect())
        let (key, second) = (Author().hex, Author().hex)
        let query = Query(kinds: [28_333], tags: ["p": [key]])
        for name in ["old", "new"] { #expect(try node.subscribe(name, query).isEmpty) }
        #expect(try other.subscribe("other", Query(kinds: [28_333], tags: ["p": [second]])).isEmpty)
        for number in 0..<800 {
            try writer.accepts(self.author.event("\(number)", kind: 28_333, tags: [["p", key], ["p", second]]))
        }
        #expect(try node.closedSubscriptions().isEmpty)
        #expect(try node.live("old").count == 800)
        #expect(try node.live("new").count == 800)
        #expect(try other.live("other").isEmpty)
    }

    @Test("a subscription that the relay ended does not count")
    func ended() throws {
        let relay = RelayHarness()
        let (costly, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<200 { #expect(try costly.subscribe("s\(number)", Query(kinds: [1], until: 1)).isEmpty) }
        for number in 0..<60 { try writer.accepts(self.author.event("note \(number)")) }
        #expect(try costly.closedSubscriptions().count == 200)
        #expect(try costly.subscribe("another", Query(kinds: [2])).isEmpty)
    }

    @Test("the query of a subscription that the relay ended ends, too, and nothing is sent for it")
    func endedQuery() throws {
        let relay = RelayHarness(storedEvents: 1_000)
        let (costly, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<900 { try writer.accepts(self.author.event("note \(number)")) }
        // Indexed by "t". The queries need more than the connection may spend at once.
        let filters = Array(repeating: Query(kinds: [1], tags: ["t": ["red"], "z": ["x"]]), count: 32)
        try costly.send("[\"REQ\",\"waiting\",\(filters.map(\.json).joined(separator: ","))]")
        for number in 0..<330 { try writer.accepts(self.author.event("red \(number)", tags: [["t", "red"]])) }
        #expect(try costly.closedSubscriptions() == ["waiting"])
        relay.advance(by: 5)
        #expect(try costly.exchange([]) == [])
        #expect(try costly.subscribe("another", Query(kinds: [2])).isEmpty)
    }

    @Test("events with thousands of equal tags cost their subscribers nothing")
    func equalTags() throws {
        let relay = RelayHarness()
        let (reader, writer) = (try relay.connect(), try relay.connect())
        #expect(try reader.subscribe("mine", Query(kinds: [20_000], tags: ["t": ["red"]])).isEmpty)
        for number in 0..<60 {
            let tags = Array(repeating: ["t", "red"], count: 1_900)
            try writer.accepts(self.author.event("\(number)", kind: 20_000, tags: tags))
        }
        #expect(try reader.closedSubscriptions().isEmpty)
        #expect(try reader.live("mine").count == 60)
    }

    @Test("while all clients together ask for too many values, one that asks for few is served")
    func valuesOfAll() throws {
        let relay = RelayHarness()
        let many = Query(tags: ["b": (0..<1_900).map { "\($0)" }])
        for _ in 0..<11 {
            let costly = try relay.connect()
            for number in 0..<10 { _ = try? costly.subscribe("s\(number)", many) }
        }
        let modest = try relay.connect()
        #expect(try modest.subscribe("few", Query(kinds: [1], tags: ["t": ["red"]])).isEmpty)
        // The guarantee is 5,000 values at once, and the last request may exceed it.
        for name in ["a", "b", "c"] { #expect(try modest.subscribe(name, many).isEmpty) }
        #expect(throws: MemoryClient.Failure.self) { try modest.subscribe("many", many) }
        relay.advance(by: 1)
        #expect(try modest.subscribe("many", many).isEmpty)
    }

    @Test("an event dated ahead does not outlive those that arrive later")
    func datedAhead() throws {
        let relay = RelayHarness(storedEvents: 10)
        let (reader, writer) = (try relay.connect(), try relay.connect())
        for number in 0..<20 { try writer.accepts(self.author.event("\(number)", at: RelayHarness.now + 800)) }
        let honest = try Author().event("now")
        try writer.accepts(honest)
        #expect(try reader.subscribe("all", Query(until: RelayHarness.now)) == [honest.json])
    }

    @Test("the memory of the filters of a connection is limited")
    func filterBytes() throws {
        var limits = RelayLimits()
        limits.filterBytes = 10_000
        let relay = RelayHarness(limits: limits)
        let client = try relay.connect()
        _ = try client.subscribe("small", Query(tags: ["t": ["red"]]))
        #expect(throws: MemoryClient.Failure.self) {
            try client.subscribe("large", Query(tags: ["t": (0..<10).map { String(repeating: "\($0)", count: 1_000) }]))
        }
        #expect(throws: MemoryClient.Failure.self) {
            try RelayHarness().connect().subscribe("long", Query(tags: ["t": [String(repeating: "x", count: 1_025)]]))
        }
    }
}
