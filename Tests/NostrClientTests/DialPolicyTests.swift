//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import NostrClient

@Suite("Policy for relays that others name, with a proxy")
struct DialPolicyTests {
    @Test(
        "whatever form an address has, none of a private network is asked for",
        arguments: [
            "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "10.1", "192.168.1.1", "169.254.169.254",
            "localhost", "a.localhost", "localhost.", "relay.example.", "::1", "fd00::1",
        ]
    )
    func refused(host: String) {
        #expect(!DialPolicy.untrusted.allows(host: host))
        #expect(DialPolicy.configured.allows(host: host))
    }

    @Test(
        "names, and addresses of the internet",
        arguments: ["relay.example", "a.b.example", "8.8.8.8", "2606:4700::1"]
    )
    func allowed(host: String) {
        #expect(DialPolicy.untrusted.allows(host: host))
    }

    @Test("if loopback is allowed, only its standard notations are accepted")
    func local() {
        #expect(DialPolicy.untrustedAllowingLocal.allows(host: "localhost"))
        #expect(DialPolicy.untrustedAllowingLocal.allows(host: "127.0.0.1"))
        #expect(!DialPolicy.untrustedAllowingLocal.allows(host: "127.1"))
    }
}
