//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Nostr
import NostrCrypto
import TestSupport
import Testing
import TunnelProtocol

@Suite("Names of exits (.nostr)")
struct NostrNameTests {
    @Test(
        "names are decoded or rejected as the vectors say"
    )
    func vectors() throws {
        let cases = try TestVectors.object("nip74-domains.json").objects("cases")
        #expect(cases.count == 43)
        for vector in cases {
            let title = vector.text("name")
            if vector.text("decode") == "reject" {
                #expect(throws: NostrName.DecodingError.self, "\(title)") { try NostrName(vector.text("domain")) }
                continue
            }
            let name = try NostrName(vector.text("domain"))
            #expect(name.publicKey.hex == vector.text("pubkey"), "\(title)")
            #expect(name.relays.map(\.text) == vector["relays"] as? [String], "\(title)")
        }
    }

    @Test("the NIP's example survives a round trip, and an npub or nprofile is a name too")
    func example() throws {
        let key = try PublicKey(
            validating: #require(Bytes32(hex: "3ef54d9f7eaa3a6fafaea680b1d047248c93408776027317a9535a2056b2ef53"))
        )
        let name = NostrName(publicKey: key, relays: [try RelayURL("ws://0.0.0.0:7777")])
        #expect(
            name.encoded
                == "etpjkbpf60n30bhg5oo3kdpn6srg.7rqkr7rul8t6vbtekq0b3k274i696g47eo1765t9add20llitt9g.nostr"
        )
        #expect(try NostrName(name.encoded) == name)
        #expect(try NostrName(name.nprofile) == name)
        #expect(try NostrName(name.nprofile + ".nostr") == name)
        #expect(try NostrName(key.npub.uppercased()).publicKey == key)
    }

    @Test("relays that do not fit a DNS label are left out and reported")
    func leftOut() throws {
        let key = SecretKey.generate().publicKey
        let long = try RelayURL("wss://" + String(repeating: "a", count: 40) + ".example")
        let short = try RelayURL("wss://relay.example")
        let name = NostrName(publicKey: key, relays: [long, short])
        #expect(name.relaysLeftOut == [long])
        #expect(try NostrName(name.encoded).relays == [short])
        #expect(try NostrName(name.nprofile).relays == [long, short])
    }

    @Test("a secret key is rejected as a name, and the error does not contain it")
    func secretKey() throws {
        let nsec = NIP19.nsec(try SecretKey.generate().exposeBytes()).encoded
        let error = #expect(throws: NostrName.DecodingError.secretKey) { try NostrName(nsec) }
        #expect(error?.description.contains(nsec) == false)
    }

    @Test("a label that only begins like an npub or nprofile is an ordinary label")
    func labelsThatBeginLikeOthers() throws {
        let text = "nprofile19i416at7raqleg5cnbhs61kc141jvss2vqujlet0u7g.nostr"
        let name = try NostrName(text)
        #expect(name.encoded == text && name.relays.isEmpty)
        #expect(try NostrName("npub1x.\(text)").ignoredLabels == ["npub1x"])
        // A malformed nprofile and a secret key are still rejected.
        #expect(throws: NostrName.DecodingError.self) { try NostrName("nprofile1qqqq.nostr") }
        #expect(throws: NostrName.DecodingError.secretKey) { try NostrName("nsec1qqqq.x.nostr") }
    }

    @Test("the length limit of a relay URL includes a scheme that is added")
    func longURL() throws {
        let longest = String(repeating: "a", count: RelayURL.maximumLength - "ws://".utf8.count)
        for scheme in ["", "ws://", "wss://"] {
            let url = try? RelayURL(scheme + longest)
            #expect(url.map { $0.text.utf8.count <= RelayURL.maximumLength } ?? true)
            if let url { #expect(try RelayURL(url.text) == url) }
        }
    }
}
