//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@testable import NostrRelay

@Suite("Authentication of clients")
struct ClientAuthenticationTests {
    private let key = SecretKey.generate()

    private static func authentication() -> ClientAuthentication {
        ClientAuthentication(challenge: "abc", host: "relay.example:8443", maximumAge: 600)
    }

    private static func event(
        _ key: SecretKey,
        kind: UInt16 = 22_242,
        createdAt: Int64 = 1_000,
        challenge: String = "abc",
        relay: String = "wss://relay.example:8443/"
    ) throws -> Event {
        let tags = [Nostr.Tag("relay", ByteString(relay)), Nostr.Tag("challenge", ByteString(challenge))]
        return try makeEvent(key, kind: kind, createdAt: createdAt, tags: tags).event
    }

    @Test("an event with the challenge, the relay and a recent date authenticates its key")
    func accepted() throws {
        var authentication = Self.authentication()
        #expect(!authentication.contains(self.key.publicKey))
        try authentication.add(Self.event(self.key), at: 1_600)
        #expect(authentication.contains(self.key.publicKey))
    }

    @Test(
        "the URL of the relay needs only the right host and port",
        arguments: ["wss://relay.example:8443", "wss://RELAY.example:8443/path", "ws://relay.example:8443/"]
    )
    func relays(url: String) throws {
        var authentication = Self.authentication()
        try authentication.add(Self.event(self.key, relay: url), at: 1_000)
    }

    @Test("wrong events authenticate nothing, and the reason names what is wrong")
    func refused() throws {
        let cases: [(Event, Int64, String)] = [
            (try Self.event(self.key, kind: 1), 1_000, "kind"),
            (try Self.event(self.key, challenge: "abd"), 1_000, "challenge"),
            (try Self.event(self.key), 1_601, "created_at"),
            (try Self.event(self.key), 399, "created_at"),
            (try Self.event(self.key, relay: "wss://relay.example/"), 1_000, "relay tag"),
            (try Self.event(self.key, relay: "wss://other.example:8443/"), 1_000, "relay tag"),
        ]
        for (event, now, word) in cases {
            var authentication = Self.authentication()
            let refusal = #expect(throws: ClientAuthentication.Refusal.self) { try authentication.add(event, at: now) }
            #expect(refusal?.reason.contains(word) == true)
            #expect(!authentication.contains(self.key.publicKey))
        }
    }

    @Test("a connection authenticates at most 64 keys, each as often as it likes")
    func limit() throws {
        var authentication = Self.authentication()
        for _ in 1..<ClientAuthentication.maximumKeys { try authentication.add(Self.event(.generate()), at: 1_000) }
        let last = try Self.event(self.key)
        try authentication.add(last, at: 1_000)
        try authentication.add(last, at: 1_000)
        let another = try Self.event(.generate())
        #expect(throws: ClientAuthentication.Refusal.self) { try authentication.add(another, at: 1_000) }
    }
}
