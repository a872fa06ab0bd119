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
            ("::ffff:192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("::1", "::2", false),
        ]
    )
    func key(first: String, second: String, areOne: Bool) throws {
        let keys = try [first, second].map {
            ConnectionCounter.key(of: try SocketAddress(ipAddress: $0, port: 1))
        }
        #expect((keys[0] == keys[1]) == areOne)
    }

    @Test("new connections of one address have a rate, those of others and of loopback addresses do not count")
    func rate() throws {
        var configuration = HTTPServer.Configuration(host: "127.0.0.1", port: 0)
        configuration.newConnectionsPerAddress = (perSecond: 1, burst: 3)
        let counter = ConnectionCounter(configuration)
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        func connect(_ text: String, at time: NIODeadline) throws -> Bool {
            let address = try SocketAddress(ipAddress: text, port: 1)
            guard counter.admit(address, at: time) else { return false }
            counter.release(address)
            return true
        }
        let first = try (0..<5).map { _ in try connect("192.0.2.1", at: start) }
        #expect(first == [true, true, true, false, false])
        #expect(try connect("192.0.2.2", at: start))
        let local = try (0..<10).map { _ in try connect("::ffff:127.0.0.1", at: start) }
        #expect(!local.contains(false))
        let later = try (0..<2).map { _ in try connect("192.0.2.1", at: start + .seconds(1)) }
        #expect(later == [true, false])
        #expect(counter.count == 0)
    }
}
