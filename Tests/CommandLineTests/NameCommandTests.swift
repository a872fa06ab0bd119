//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Nostr
import NostrCrypto
import Testing
import TunnelProtocol

@testable import nws

@Suite("nws name")
struct NameCommandTests {
    private static let example =
        "etpjkbpf60n30bhg5oo3kdpn6srg.7rqkr7rul8t6vbtekq0b3k274i696g47eo1765t9add20llitt9g.nostr"

    private static func encoded(_ arguments: [String]) throws -> NostrName {
        try NameCommand.Encode.parse(arguments).name()
    }

    @Test("relays keep their order")
    func relays() throws {
        let key = SecretKey.generate().publicKey
        let relays = ["ws://127.0.0.1:7777", "wss://relay.example", "ws://127.0.0.1:8888"]
        let name = try Self.encoded(relays.flatMap { ["--relay", $0] } + [key.npub])
        let decoded = try NostrName(argument: name.encoded)
        #expect(decoded.publicKey == key)
        #expect(decoded.relays.map(\.text) == relays)
        // Those of an nprofile are kept, unless others are given.
        #expect(try Self.encoded([name.nprofile]).relays.map(\.text) == relays)
        #expect(try Self.encoded([name.nprofile, "--relay", relays[1]]).relays.map(\.text) == [relays[1]])
    }

    @Test("a name is read in upper case, too, and an npub is a name without relays")
    func forms() throws {
        #expect(try NostrName(argument: Self.example.uppercased()) == NostrName(argument: Self.example))
        #expect(try NostrName(argument: " http://\(Self.example):80/ ") == NostrName(argument: Self.example))
        let key = SecretKey.generate().publicKey
        let name = try NostrName(argument: key.npub)
        #expect(name.publicKey == key)
        #expect(name.relays.isEmpty)
    }

    @Test(
        "what is not a name is a failure",
        arguments: [
            "", "nonsense", "example.com", "nonsense.nostr", ".nostr",
            String(Self.example.dropLast(6)) + "w.nostr", String(repeating: "a", count: 300) + ".nostr",
        ]
    )
    func invalidName(text: String) throws {
        let error = try #require(throws: CommandError.self) { try NostrName(argument: text) }
        #expect(error.status.rawValue == 1)
        #expect(!error.message.isEmpty)
    }

    @Test(
        "what is not a public key is a failure",
        arguments: ["nonsense", String(repeating: "f", count: 64), String(repeating: "0", count: 63)]
    )
    func invalidKey(text: String) throws {
        let error = try #require(throws: CommandError.self) { try Self.encoded([text]) }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains("not a public key"))
    }

    @Test("a secret key is refused, and the error does not contain it")
    func secretKey() throws {
        let nsec = NIP19.nsec(try SecretKey.generate().exposeBytes()).encoded
        let error = try #require(throws: CommandError.self) { try Self.encoded([nsec]) }
        #expect(error.status.rawValue == 1)
        #expect(error.message.contains("SECRET"))
        #expect(!error.message.contains(nsec))
    }

    @Test("a relay that is not a URL is a configuration error")
    func invalidRelay() throws {
        let error = try #require(throws: CommandError.self) {
            try Self.encoded(["--relay", "ftp://x", SecretKey.generate().publicKey.npub])
        }
        #expect(error.status.rawValue == 78)
        #expect(error.message.contains("--relay"))
    }
}
