//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import NostrCrypto
import TestSupport
import Testing

@Suite("Bech32, base32hex and NIP-19")
struct NamesTests {
    @Test("bech32 decoding matches the vectors")
    func bech32() throws {
        let vectors = try TestVectors.object("bech32.json")
        for text in try #require(vectors["bech32_valid"] as? [String]) {
            #expect(throws: Never.self, "\(text)") { _ = try Bech32.decodeGroups(text) }
        }
        for vector in vectors.objects("bech32_invalid") {
            // NIP-19 lifts the limit of 90 characters.
            if vector.text("reason") == "overall max length exceeded" { continue }
            #expect(throws: Bech32.DecodingError.self, "\(vector.text("reason"))") {
                _ = try Bech32.decodeGroups(vector.text("string"))
            }
        }
        for text in try #require(vectors["bech32m_valid_so_bech32_invalid"] as? [String]) {
            #expect(throws: Bech32.DecodingError.self, "\(text)") { _ = try Bech32.decodeGroups(text) }
        }
    }

    @Test("base32hex encoding and decoding match the vectors")
    func base32hex() throws {
        let vectors = try TestVectors.object("base32hex.json")
        for vector in vectors.objects("unpadded_lower") {
            let bytes = Array(vector.text("ascii").utf8)
            #expect(Base32Hex.encode(bytes) == vector.text("base32hex"))
            #expect(Base32Hex.decode(vector.text("base32hex")) == bytes)
            #expect(Base32Hex.decode(vector.text("base32hex").uppercased()) == bytes)
        }
        let all = vectors.object("all_bytes")
        #expect(Base32Hex.decode(all.text("base32hex")) == Hex.decode(all.text("hex")))
        #expect(vectors.objects("invalid").count == 10)
        for vector in vectors.objects("invalid") {
            #expect(Base32Hex.decode(vector.text("string")) == nil, "\(vector.text("why"))")
        }
    }

    @Test("NIP-19 decoding matches the vectors")
    func nip19() throws {
        let vectors = try TestVectors.object("nip19.json")
        #expect(vectors.objects("valid").count == 20)
        for vector in vectors.objects("valid") {
            let name = vector.text("name")
            switch try NIP19(vector.text("bech32")) {
            case .npub(let key): #expect(key.hex == vector.text("hex"), "\(name)")
            case .nsec(let secret): #expect(secret.hex == vector.text("hex"), "\(name)")
            case .nprofile(let key, let relays):
                #expect(key.hex == vector.text("pubkey"), "\(name)")
                #expect(relays == vector["relays"] as? [String], "\(name)")
            }
        }
        #expect(vectors.objects("invalid").count == 22)
        for vector in vectors.objects("invalid") {
            // An nsec is valid NIP-19, but it is not accepted where a public key is expected.
            if vector.text("name") == "wrong-hrp-nsec-as-destination" {
                #expect(PublicKey(userText: vector.text("bech32")) == nil)
                continue
            }
            #expect(throws: NIP19.DecodingError.self, "\(vector.text("name")): \(vector.text("why"))") {
                try NIP19(vector.text("bech32"))
            }
        }
    }
}

@Suite("NIP-19 encoding and relay URLs")
struct NameEncodingTests {
    @Test("npub, nprofile and nsec survive encoding and decoding")
    func roundTrips() throws {
        let key = SecretKey.generate().publicKey
        #expect(try NIP19(key.npub) == .npub(key))
        #expect(try NIP19(key.npub.uppercased()) == .npub(key))
        let profile = NIP19.nprofile(key, relays: ["wss://relay.example", "ws://127.0.0.1:7777"])
        #expect(try NIP19(profile.encoded) == profile)
        let secret = Bytes32.random()
        #expect(try NIP19(NIP19.nsec(secret).encoded) == .nsec(secret))
    }

    @Test(
        "relay URLs are normalised",
        arguments: [
            ("wss://Relay.Example.COM/", "wss://relay.example.com"), ("ws://h.example:80", "ws://h.example"),
            ("wss://h.example:443/x/", "wss://h.example/x/"), ("https://h.example", "wss://h.example"),
            ("http://10.0.0.1/x", "ws://10.0.0.1/x"), ("relay.example", "wss://relay.example"),
            ("ws://[::1]:22", "ws://[::1]:22"), ("wss://h.example?a=1", "wss://h.example?a=1"),
        ]
    )
    func relayURLs(text: String, normalised: String) throws {
        #expect(try RelayURL(text).text == normalised)
    }

    @Test(
        "invalid relay URLs are rejected",
        arguments: [
            "", "not a url", "wss://u:p@h.example", "file:///etc/passwd", "ws://h.example/#x", "ws://h:0",
            "ws://h:99999",
            "ws://", "www", "ws://a\r\nb", "ws://[1.2.3.4]", "ws://h..example", "wss://é.example", "ws://a:b:c",
        ]
    )
    func refusedRelayURLs(text: String) {
        #expect(throws: RelayURL.ParsingError.self) { try RelayURL(text) }
    }
}
