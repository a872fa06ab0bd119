//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

/// The relay has no list of users: a client is known if it has authenticated, and unknown clients have the same rights.
@Suite("Rights of clients")
struct ClientRightRuleTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    private func authenticate() throws {
        let answer = try self.author.answer(to: self.client.challenge)
        #expect(try self.client.authenticate(answer) == .accepted)
    }

    @Test("strangers may write, as the information document says")
    func strangers() throws {
        #expect(self.relay.limitation.authenticationRequired == false)
        #expect(self.relay.limitation.restrictedWrites == false)
        #expect(self.relay.limitation.paymentRequired == false)
        try self.client.accepts(self.author.event("a note"))
    }

    @Test(
        "relay lists and lists of relays for messages are stored for strangers",
        arguments: [10_002, 10_050] as [UInt16]
    )
    func lists(kind: UInt16) throws {
        let event = try self.author.event(kind: kind, tags: [["relay", "wss://relay.example"]])
        try self.client.accepts(event)
        #expect(try self.client.found(self.author.query(kinds: [Int(kind)])) == [event.json])
    }

    @Test("everybody may publish events of every author", arguments: [true, false], [true, false])
    func writing(isKnown: Bool, isOwn: Bool) throws {
        if isKnown { try self.authenticate() }
        let event = try (isOwn ? self.author : self.other).event("a note")
        #expect(try self.client.publish(event) == .accepted)
        #expect(try self.relay.connect().stored(event) == event.json)
    }

    @Test("everybody may read events of every author", arguments: [true, false], [true, false])
    func reading(isKnown: Bool, isOwn: Bool) throws {
        if isKnown { try self.authenticate() }
        let author = isOwn ? self.author : self.other
        let stored = try author.event("before")
        let live = try author.event("after")
        let writer = try self.relay.connect()
        try writer.accepts(stored)
        #expect(try self.client.subscribe("notes", author.query()) == [stored.json])
        try writer.accepts(live)
        #expect(try self.client.live("notes") == [live.json])
    }

    /// The relay protects no kind: it claims neither NIP-04 nor NIP-59, and the messages are encrypted anyway.
    @Test("encrypted messages are served to everybody", arguments: [4, 1_059] as [UInt16])
    func encryptedMessages(kind: UInt16) throws {
        let receiver = ["p", self.other.hex]
        let stored = try self.author.event("one", kind: kind, tags: [receiver])
        let live = try self.author.event("two", kind: kind, tags: [receiver])
        let sender = try self.relay.connect()
        try sender.accepts(stored)
        let query = Query(kinds: [Int(kind)], tags: ["p": [self.other.hex]])
        #expect(try self.client.subscribe("sealed", query) == [stored.json])
        try sender.accepts(live)
        #expect(try self.client.live("sealed") == [live.json])
    }
}
