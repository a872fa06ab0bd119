//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import HTTPTransport

@Suite("Host names and addresses of untrusted parties")
struct HostNameTests {
    @Test(
        "addresses in their usual notation and DNS names are valid",
        arguments: [
            "example.com", "example.com.", "a", "localhost", "xn--bcher-kva.example", "_dmarc.example.com", "1.example",
            "127.0.0.1", "::1", "2001:db8::1", "A-B.Example", String(repeating: "a", count: 63) + ".example",
        ]
    )
    func valid(text: String) { #expect(HostName.isValid(text)) }

    @Test(
        "names that resolvers read in another way than rules do are invalid",
        arguments: [
            "", ".", "..", "localhost\0.good.test", "127.0.0.1\0.good.test", "::ffff:127.0.0.1\0.good.test",
            "127.1", "-a.example", "a-.example", "example.-", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.5",
            "a..b",
            ".a", "a b", "bücher.example", "fe80::1%eth0", "[::1]", "a/b", "a\n", "user@host", "host:80", "example.0x1",
            String(repeating: "a", count: 64) + ".example", String(repeating: "a.", count: 127) + "example",
        ]
    )
    func invalid(text: String) { #expect(!HostName.isValid(text)) }

    @Test("addresses of this machine's interfaces are recognized, also as IPv4-mapped addresses")
    func own() throws {
        var own = OwnAddresses()
        #expect(own.contains(try SocketAddress(ipAddress: "127.0.0.1", port: 80), at: .now()))
        #expect(own.contains(try SocketAddress(ipAddress: "::ffff:127.0.0.1", port: 80), at: .now()))
        #expect(!own.contains(try SocketAddress(ipAddress: "192.0.2.1", port: 80), at: .now()))
        #expect(!own.contains(try SocketAddress(unixDomainSocketPath: "/tmp/x"), at: .now()))
    }

    @Test("markup in a text is escaped even if a combining character precedes it")
    func escaping() {
        #expect(HTMLPage.escaped("<b a='1' c=\"2\">&") == "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;")
        for prefix in ["\u{0600}", "\u{200d}", "\u{0301}"] {
            #expect(!HTMLPage.escaped("\(prefix)<script>").unicodeScalars.contains("<"))
        }
        #expect(!HTMLPage.escaped("<\u{0301}script>").unicodeScalars.contains("<"))
    }
}
