//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import NostrRelay
import Testing

/// What the information document says about other NIPs, compared with what the relay does.
@Suite("NIPs that the relay claims to support")
struct ClaimedNIPTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient
    private let now = RelayHarness.now

    init() throws {
        self.client = try self.relay.connect()
    }

    private var claimed: Set<Int> { Set(self.relay.configuration.information.supportedNIPs) }

    @Test("what the relay claims is tested here, or is NIP-01, NIP-11 (over HTTP) or NIP-70 (authentication)")
    func claims() {
        #expect(self.claimed == [1, 9, 11, 40, 42, 70])
    }

    @Test("NIP-04 is not claimed: encrypted messages are not withheld from strangers")
    func directMessages() throws {
        #expect(!self.claimed.contains(4))
        #expect(try self.serves(kind: 4))
    }

    @Test("NIP-09 is claimed: an author can delete an event")
    func deletion() throws {
        #expect(self.claimed.contains(9))
        let event = try self.author.event("a mistake")
        try self.client.accepts(event)
        try self.client.accepts(self.author.deletion([["e", event.id]]))
        #expect(try self.client.stored(event) == nil)
    }

    @Test("NIP-26 is not claimed: a delegated event is one of its signer alone")
    func delegation() throws {
        #expect(!self.claimed.contains(26))
        let conditions = "kind=1"
        let token = Bytes32.sha256(of: Array("nostr:delegation:\(self.author.hex):\(conditions)".utf8))
        let tag = ["delegation", self.other.hex, conditions, try self.other.key.sign(token).hex]
        let event = try self.author.event("in another's name", tags: [tag])
        try self.client.accepts(event)
        #expect(try self.client.found(self.author.query()) == [event.json])
        #expect(try self.client.found(self.other.query()).isEmpty)
    }

    @Test("NIP-29 is not claimed: the relay makes no groups")
    func groups() throws {
        #expect(!self.claimed.contains(29))
        try self.client.accepts(self.author.event(kind: 9_007, tags: [["h", "group"]]))
        #expect(try self.client.found(Query(kinds: [39_000], tags: ["d": ["group"]])).isEmpty)
    }

    @Test("NIP-40 is claimed: an event that has expired is neither accepted nor served")
    func expiration() throws {
        #expect(self.claimed.contains(40))
        let late = try self.author.event("too late", tags: [["expiration", "\(self.now)"]])
        try self.client.rejects(late, .invalid)
        let event = try self.author.event("for three seconds", tags: [["expiration", "\(self.now + 3)"]])
        try self.client.accepts(event)
        self.relay.advance(by: 2)
        #expect(try self.client.stored(event) == event.json)
        self.relay.advance(by: 1)
        #expect(try self.client.stored(event) == nil)
    }

    @Test("NIP-42 is claimed: a protected event needs its authenticated author")
    func authentication() throws {
        #expect(self.claimed.contains(42))
        let event = try self.author.protectedNote()
        try self.client.rejects(event, .authRequired)
        #expect(try self.client.authenticate(self.other.answer(to: self.client.challenge)) == .accepted)
        try self.client.rejects(event, .authRequired)
        #expect(try self.client.authenticate(self.author.answer(to: self.client.challenge)) == .accepted)
        try self.client.accepts(event)
    }

    @Test("NIP-45 is not claimed: COUNT is not understood")
    func counting() throws {
        #expect(!self.claimed.contains(45))
        let answers = try self.client.exchange([#"["COUNT","how many",\#(self.author.query().json)]"#])
        #expect(answers.count == 1)
        #expect(answers.first?.hasPrefix(#"["NOTICE","invalid: "#) == true)
    }

    @Test("NIP-50 is not claimed: the relay ignores a search, like all unknown members of a filter")
    func search() throws {
        #expect(!self.claimed.contains(50))
        let needle = try self.author.event("needle")
        let hay = try self.author.event("hay", at: self.now - 1)
        try self.client.accepts([needle, hay])
        let query = Query(json: #"{"authors":[\#(self.author.hex.quoted)],"search":"needle"}"#)
        #expect(try self.client.found(query) == [needle.json, hay.json])
    }

    @Test("NIP-59 is not claimed: gift wraps are not withheld from strangers")
    func giftWraps() throws {
        #expect(!self.claimed.contains(59))
        #expect(try self.serves(kind: 1_059))
    }

    @Test("NIP-65 is not claimed, because it requires nothing of a relay but to store lists")
    func relayLists() throws {
        #expect(!self.claimed.contains(65))
        #expect(try self.serves(kind: 10_002))
    }

    @Test("NIP-94 is not claimed, because it requires nothing of a relay but to store metadata")
    func fileMetadata() throws {
        #expect(!self.claimed.contains(94))
        #expect(try self.serves(kind: 1_063))
    }

    /// Whether a client that has not authenticated can read an event of this kind.
    private func serves(kind: UInt16) throws -> Bool {
        let tags = [["p", self.other.hex], ["r", "wss://relay.example"]]
        let event = try self.author.event(kind: kind, tags: tags)
        try self.client.accepts(event)
        return try self.relay.connect().stored(event) == event.json
    }
}
