//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import HTTPTransport

@Suite("Connections by address")
struct ConnectionCounterTests {
    @Test(
        "an IPv6 subscriber, who has 64 bits of addresses, counts as one; an IPv4 address counts in both notations",
        arguments: [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true), ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("::1", "::2", false),
        ]
    )
    func key(first: String, second: String, areOne: Bool) throws {
        let keys = try [first, second].map {
            ConnectionCounter.key(of: try SocketAddress(ipAddress: $0, port: 1))
        }
        #expect((keys[0] == keys[1]) == areOne)
    }
}
