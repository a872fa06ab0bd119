//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@Suite("Rules of published events")
struct EventRuleTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    @Test("every event is answered with OK, also a malformed one")
    func answered() throws {
        let event = try self.author.event("a note")
        #expect(try self.client.exchange([event.message]) == [#"["OK","\#(event.id)",true,""]"#])
        let again = try self.client.exchange([event.message])
        #expect(again.count == 1)
        #expect(again.first?.hasPrefix(#"["OK","\#(event.id)",true,"duplicate: "#) == true)
        try self.client.rejects(event.replacing("sig", with: String(repeating: "0", count: 128).quoted), .invalid)
        try self.client.rejects(event.replacing("kind", with: "-1"), .invalid)
        try self.client.rejects(event.removing("tags"), .invalid)
    }

    @Test("many events that arrive at once are answered in order", arguments: [0, -1] as [Int64])
    func answeredInOrder(date: Int64) throws {
        // Events from before 1970 are malformed.
        let events = try (0..<100).map { try self.author.event("\($0)", at: date) }
        let end = #"["REQ","end",{"ids":[]}]"#
        let answers = try self.client.exchange(events.map(\.message) + [end])
        #expect(answers.count == events.count + 1)
        for (event, answer) in zip(events, answers) {
            #expect(answer.hasPrefix(#"["OK","\#(event.id)",\#(date == 0),"#))
        }
        #expect(answers.last == #"["EOSE","end"]"#)
    }

    @Test("an event with a wrong signature is rejected")
    func signatures() throws {
        let event = try self.author.event("a note")
        let id = try #require(Bytes32(hex: event.id))
        var flipped = try #require(Hex.decode(event.signature))
        flipped[63] ^= 1
        let wrong = [
            String(repeating: "0", count: 128), try SecretKey.generate().sign(id).hex, Hex.encode(flipped),
        ]
        for signature in wrong {
            try self.client.rejects(event.replacing("sig", with: signature.quoted), .invalid)
        }
        #expect(try self.client.stored(event) == nil)
    }

    @Test("an event whose id is not its hash is rejected, also if the signature is one of that id")
    func identifiers() throws {
        let event = try self.author.event("a note")
        for hex in [String(repeating: "cafebabe", count: 8), try self.author.event("another").id] {
            let id = try #require(Bytes32(hex: hex))
            let signature = try self.author.key.sign(id).hex
            let wrong = event.replacing("id", with: hex.quoted).replacing("sig", with: signature.quoted)
            try self.client.rejects(wrong, .invalid)
            #expect(try self.client.stored(wrong) == nil)
        }
    }

    @Test(
        "a tag without a name is rejected",
        arguments: [[[]], [[], []], [["t", "x"], []]] as [[[String]]]
    )
    func emptyTags(tags: [[String]]) throws {
        try self.client.rejects(self.author.event(tags: tags), .invalid)
    }

    @Test(
        "a tag may have no value, and name and value may be empty",
        arguments: [[], [["t"]], [["t", ""]], [[""]]] as [[[String]]]
    )
    func tagsWithoutValues(tags: [[String]]) throws {
        let event = try self.author.event(tags: tags)
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == event.json)
    }

    @Test("contact lists may be as long as events, which is more than 1,500 contacts")
    func contacts() throws {
        let limits = self.relay.limitation
        let length = try #require(limits.maximumEventLength)
        let maximumCount = try #require(limits.maximumEventTags)
        func tag(_ number: Int) -> [String] {
            let digits = String(number, radix: 16)
            return ["p", String(repeating: "0", count: 64 - digits.count) + digits]
        }
        let room = try length - self.author.event(kind: 3).json.bytes.count
        // A tag is written as ["p","…"] and a comma.
        let count = room / 73
        #expect(count > 1_500)
        #expect(count + 10 < maximumCount)
        let event = try self.author.event(kind: 3, tags: (0..<count).map(tag))
        #expect(event.json.bytes.count >= length - 73)
        try self.client.accepts(event)
        #expect(try self.client.subscribe("contacts", self.author.query(kinds: [3])) == [event.json])
        try self.client.rejects(self.author.event(kind: 3, tags: (0..<count + 10).map(tag)), .invalid)
    }

    @Test("an event has at most as many tags as the information document says")
    func numberOfTags() throws {
        let count = try #require(self.relay.limitation.maximumEventTags)
        try self.client.accepts(self.author.event(tags: Array(repeating: ["t"], count: count)))
        try self.client.rejects(self.author.event(tags: Array(repeating: ["t"], count: count + 1)), .invalid)
    }

    @Test("kinds have sixteen bits; an event of a larger kind is rejected")
    func kinds() throws {
        try self.client.accepts(self.author.event(kind: 65_535))
        for kind in ["65536", "65537", "4294967297", "18446744073709551617"] {
            try self.client.rejects(self.author.event(writtenKind: kind), .invalid)
        }
        // No kind was cut to sixteen bits.
        #expect(try self.client.found(self.author.query(kinds: [1])).isEmpty)
    }
}

@Suite("Rules of the dates of events")
struct EventDateRuleTests {
    private static let day: Int64 = 86_400
    private static let now = RelayHarness.now
    private let relay = RelayHarness()
    private let author = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    @Test(
        "an event of any date since 1970 is accepted",
        arguments: [
            Self.now - 7 * Self.day, Self.now - 31 * Self.day, Self.now - 366 * Self.day,
            // Before Nostr, and before 2000.
            1_420_070_461, 915_148_861, 0,
        ]
    )
    func past(date: Int64) throws {
        #expect(self.relay.limitation.createdAtLowerLimit == nil)
        let event = try self.author.event("old", at: date)
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == event.json)
    }

    @Test(
        "an event of the future or from before 1970 is rejected",
        arguments: [-200, Self.now + 365 * Self.day, Int64.max, 2_147_483_649, 4_294_967_297]
    )
    func outOfTime(date: Int64) throws {
        let event = try self.author.event("out of time", at: date)
        try self.client.rejects(event, .invalid)
        #expect(try self.client.stored(event) == nil)
    }

    @Test("an event may be as far in the future as the information document says")
    func ahead() throws {
        let limit = Int64(try #require(self.relay.limitation.createdAtUpperLimit))
        try self.client.accepts(self.author.event("soon", at: Self.now + limit))
        let event = try self.author.event("not so soon", at: Self.now + limit + 1)
        try self.client.rejects(event, .invalid)
        self.relay.advance(by: 1)
        try self.client.accepts(event)
    }

    @Test(
        "a date is written as an integer without exponent and fraction",
        arguments: ["1.7e9", "1.7E+9", "17e8", "1700000000.0", #""1700000000""#]
    )
    func notation(date: String) throws {
        let event = try self.author.event(at: 1_700_000_000)
        try self.client.rejects(event.replacing("created_at", with: date), .invalid)
        #expect(try self.client.stored(event) == nil)
        try self.client.accepts(event)
    }
}
