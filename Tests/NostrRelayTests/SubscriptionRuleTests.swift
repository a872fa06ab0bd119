//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrRelay
import Testing

@Suite("Rules of subscriptions")
struct SubscriptionRuleTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    @Test("EOSE follows the stored events, even if there are none")
    func endOfStoredEvents() throws {
        let query = self.author.query(limit: 10).json
        #expect(try self.client.exchange([#"["REQ","nothing",\#(query)]"#]) == [#"["EOSE","nothing"]"#])
        try self.client.unsubscribe("nothing")
        let event = try self.author.event("something")
        try self.client.accepts(event)
        let answers = try self.client.exchange([#"["REQ","something",\#(query)]"#])
        #expect(answers == [#"["EVENT","something",\#(event.json)]"#, #"["EOSE","something"]"#])
    }

    @Test("a subscription that nothing else can match stays until the client closes it")
    func complete() throws {
        var limits = RelayLimits()
        limits.subscriptions = 2
        let client = try RelayHarness(limits: limits).connect()
        let event = try self.author.event("the one")
        try client.accepts(event)
        #expect(try client.subscribe("complete", Query(ids: [event.id])) == [event.json])
        let unknown = String(repeating: "de", count: 32)
        #expect(try client.subscribe("hopeless", Query(ids: [unknown], kinds: [1])).isEmpty)
        // Both subscriptions still count, and no CLOSED came for them.
        let answers = try client.exchange([#"["REQ","third",\#(self.author.query().json)]"#])
        #expect(answers.count == 1)
        #expect(answers.first?.hasPrefix(#"["CLOSED","third","restricted: "#) == true)
    }

    @Test("a subscription to the past stays open and gets events that come late")
    func incomplete() throws {
        let past = self.author.query(kinds: [1], until: 1_700_000_000, limit: 10)
        #expect(try self.client.subscribe("past", past).isEmpty)
        try self.client.accepts(self.author.event("today"))
        let late = try self.author.event("of the past, and late", at: 1_600_000_000)
        try self.client.accepts(late)
        #expect(try self.client.live("past") == [late.json])
    }

    @Test("events after EOSE are served as they come, whatever the limit of the filter")
    func live() throws {
        #expect(try self.client.subscribe("live", self.author.query(kinds: [1], limit: 1)).isEmpty)
        let wanted = try (0..<3).map { try self.author.event("\($0)") }
        let publisher = try self.relay.connect()
        for (number, event) in wanted.enumerated() {
            try publisher.accepts(self.other.event("before \(number)"))
            try publisher.accepts(self.author.event("before \(number)", kind: 7))
            try publisher.accepts(event)
        }
        #expect(try self.client.live("live") == wanted.map(\.json))
    }

    @Test("with a limit of zero, only events after EOSE are served")
    func limitZero() throws {
        try self.client.accepts(self.author.event("old"))
        #expect(try self.client.subscribe("new alone", self.author.query(limit: 0)).isEmpty)
        let event = try self.author.event("new")
        try self.client.accepts(event)
        #expect(try self.client.live("new alone") == [event.json])
    }

    @Test("a connection has at most as many subscriptions as the information document says")
    func maximum() throws {
        var limits = RelayLimits()
        limits.subscriptions = 3
        let relay = RelayHarness(limits: limits)
        #expect(relay.limitation.maximumSubscriptions == 3)
        let client = try relay.connect()
        for number in 0..<3 {
            #expect(try client.subscribe("s\(number)", self.author.query()).isEmpty)
        }
        #expect(try client.request("too many", [self.author.query()]).refusal?.prefix == .restricted)
        // A REQ with the same id replaces the subscription.
        #expect(try client.subscribe("s0", self.author.query(kinds: [1])).isEmpty)
        let event = try self.author.event("for all but one", kind: 7)
        try client.accepts(event)
        #expect(try client.live("s0").isEmpty)
        #expect(try client.live("s1") == [event.json])
        #expect(try client.live("s2") == [event.json])
        #expect(try client.live("too many").isEmpty)
        // A closed subscription gets nothing more and leaves room for another one.
        try client.unsubscribe("s1")
        #expect(try client.subscribe("in its place", self.author.query(kinds: [1])).isEmpty)
        let another = try self.author.event("for one", kind: 7)
        try client.accepts(another)
        #expect(try client.live("s1").isEmpty)
        #expect(try client.live("s2") == [another.json])
    }
}
