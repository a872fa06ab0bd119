//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@Suite("Rules of ephemeral events")
struct EphemeralEventRuleTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    @Test("an ephemeral event without a subscriber is accepted, and the answer says so")
    func accepted() throws {
        let answer = try self.client.publish(self.author.event("no subscriber", kind: 23_195))
        #expect(answer.isAccepted)
        #expect(ReasonText(answer.reason).prefix == .mute)
        #expect(try self.client.subscribe("listener", self.author.query()).isEmpty)
        #expect(try self.client.publish(self.author.event("to one", kind: 23_195)) == .accepted)
    }

    @Test("ephemeral events are handed on to subscribers")
    func live() throws {
        let events = try ([20_000, 25_000, 29_999] as [UInt16]).map {
            try self.author.event("now", kind: $0, tags: [["test"]])
        }
        #expect(try self.client.subscribe("live", self.author.query(kinds: [20_000, 25_000, 29_999])).isEmpty)
        let publisher = try self.relay.connect()
        for event in events {
            #expect(try publisher.publish(event) == .accepted)
        }
        #expect(try self.client.live("live") == events.map(\.json))
    }

    @Test("ephemeral events are not stored", arguments: [20_000, 25_001, 29_999] as [UInt16])
    func forgotten(kind: UInt16) throws {
        let event = try self.author.event("gone", kind: kind, tags: [["test"]])
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == nil)
        #expect(try self.client.found(self.author.query()).isEmpty)
    }

    @Test("events of the kinds next to the ephemeral ones are stored", arguments: [19_999, 30_000] as [UInt16])
    func neighbours(kind: UInt16) throws {
        let event = try self.author.event("kept", kind: kind, tags: [["d", "x"]])
        try self.client.accepts(event)
        #expect(try self.client.found(self.author.query()) == [event.json])
    }
}
