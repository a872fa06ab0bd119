//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@Suite("Rules of authentication")
struct ClientAuthenticationRuleTests {
    private let relay = RelayHarness()
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try self.relay.connect()
    }

    /// An answer to the challenge that differs from a correct one. What is nil is correct.
    struct Mistake: Sendable {
        var kind: UInt16?
        var relay: String?
        var challenge: String?
        var age: Int64?
    }

    /// Expects that a wrong answer is rejected and gives no right to publish a protected event.
    private func expectNoProof(_ answer: WrittenEvent) throws {
        let verdict = try self.client.authenticate(answer)
        #expect(!verdict.isAccepted)
        #expect(ReasonText(verdict.reason).prefix == .invalid)
        try self.client.rejects(self.author.protectedNote(), .authRequired)
    }

    private func expectNoProof(_ mistake: Mistake) throws {
        try self.expectNoProof(
            self.author.answer(
                to: mistake.challenge ?? self.client.challenge,
                relay: mistake.relay ?? RelayHarness.url,
                kind: mistake.kind ?? 22_242,
                at: RelayHarness.now - (mistake.age ?? 0)
            )
        )
        // The correct answer is accepted afterwards.
        #expect(try self.client.authenticate(self.author.answer(to: self.client.challenge)) == .accepted)
        try self.client.accepts(self.author.protectedNote())
    }

    @Test("each connection begins with its own AUTH challenge")
    func challenges() throws {
        // The client fails to connect if anything else comes first.
        let others = try (0..<2).map { _ in try self.relay.connect().challenge }
        #expect(self.client.challenge.utf8.count >= 32)
        #expect(Set(others + [self.client.challenge]).count == 3)
    }

    @Test("everybody may authenticate, again and with several keys")
    func everybody() throws {
        for author in [self.author, self.author, self.other] {
            #expect(try self.client.authenticate(author.answer(to: self.client.challenge)) == .accepted)
        }
        for author in [self.author, self.other] {
            try self.client.accepts(author.protectedNote())
        }
    }

    @Test("an answer of another kind proves nothing", arguments: [1, 22_241, 22_243] as [UInt16])
    func kinds(kind: UInt16) throws {
        try self.expectNoProof(Mistake(kind: kind))
    }

    @Test(
        "an answer for another relay proves nothing",
        arguments: ["wss://other.example", "wss://relay.example:1", "ws://127.0.0.1:1/", "intentionally nothing"]
    )
    func relays(url: String) throws {
        try self.expectNoProof(Mistake(relay: url))
    }

    @Test("an answer to another challenge proves nothing", arguments: ["intentionally nothing", ""])
    func otherChallenges(challenge: String) throws {
        try self.expectNoProof(Mistake(challenge: challenge))
    }

    @Test("an answer of another time proves nothing", arguments: [601, 700, -601, -700, 30 * 86_400] as [Int64])
    func times(age: Int64) throws {
        try self.expectNoProof(Mistake(age: age))
    }

    @Test("an answer to the challenge of another connection proves nothing")
    func otherConnection() throws {
        let challenge = try self.relay.connect().challenge
        try self.expectNoProof(self.author.answer(to: challenge))
    }

    @Test("an answer that somebody else signed proves nothing")
    func forgery() throws {
        let answer = try self.author.answer(to: self.client.challenge)
        let forgery = try self.other.answer(to: self.client.challenge)
        try self.expectNoProof(answer.replacing("sig", with: forgery.signature.quoted))
    }

    @Test("an answer on one connection gives no rights on another")
    func oneConnection() throws {
        #expect(try self.client.authenticate(self.author.answer(to: self.client.challenge)) == .accepted)
        try self.relay.connect().rejects(self.author.protectedNote(), .authRequired)
    }
}
