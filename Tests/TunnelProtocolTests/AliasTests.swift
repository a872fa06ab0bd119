//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Aliases and pasted names")
struct AliasTests {
    @Test("an alias has 1 to 32 letters, digits and hyphens")
    func grammar() {
        for text in ["home", "Home", "a", "my-home-2", String(repeating: "a", count: 32)] {
            #expect(Alias(text)?.text == text.lowercased())
        }
        for text in [
            "", "-a", "a-", "a.b", "a b", "a_b", "ü", "nostr", "npub1abc", "nprofile1abc", "nsec1abc", "nwsinvite1abc",
            String(repeating: "a", count: 33),
        ] {
            #expect(Alias(text) == nil, "\(text)")
        }
    }

    @Test("an alias cannot shadow a real name")
    func shadowing() throws {
        let key = try SecretKey(.sha256(of: [1])).publicKey
        let name = NostrName(publicKey: key, relays: [try RelayURL("wss://a.example")])
        #expect(Alias(domain: name.encoded) == nil)
        #expect(Alias(domain: key.npub + ".nostr") == nil)
        #expect(Alias(domain: name.nprofile + ".nostr") == nil)
        #expect(Alias(domain: "example.com") == nil && Alias(domain: "nostr") == nil && Alias(domain: "home") == nil)
        for domain in ["home.nostr", "HOME.nostr.", "www.home.nostr", "a.b.home.nostr"] {
            #expect(Alias(domain: domain)?.domain == "home.nostr")
        }
    }

    @Test(
        "names are understood as people paste them",
        arguments: [
            ("home", "home", nil), ("  home \n", "home", nil), ("\"home\"", "home", nil),
            ("<npub1abc>", "npub1abc", nil),
            ("http://home.nostr/", "home.nostr", 80), ("https://home.nostr/a/b?c#d", "home.nostr", 443),
            ("nostr:npub1abc", "npub1abc", nil), ("NOSTR:NPUB1ABC", "NPUB1ABC", nil),
            ("ssh://me@home.nostr", "home.nostr", 22),
            ("home.nostr:8080", "home.nostr", 8_080), ("http://home.nostr:81/x", "home.nostr", 81),
            ("home/", "home", nil), ("user@home.nostr:22", "home.nostr", 22), ("[::1]:80", "::1", 80),
            ("::1", "::1", nil),
        ] as [(String, String, UInt16?)]
    )
    func pasted(text: String, host: String, port: UInt16?) {
        let pasted = PastedName(text)
        #expect(pasted?.host == host && pasted?.port == port)
    }

    @Test(
        "what contains no name is rejected",
        arguments: ["", "  ", "http://", "home:0", "home:x", "home:70000", "\"\""]
    )
    func rejected(text: String) {
        #expect(PastedName(text) == nil)
    }
}
