//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import Testing

@Suite("Rates of networks")
struct PrefixRatesTests {
    private let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private func admitted(_ rates: inout PrefixRates, _ hosts: [String], at now: NIODeadline) throws -> Int {
        try hosts.count { rates.admit(try SocketAddress(ipAddress: $0, port: 1), at: now) }
    }

    @Test("addresses of one network share a rate, those of others have their own")
    func networks() throws {
        var rates = PrefixRates(perSecond: 1, burst: 2)
        #expect(try self.admitted(&rates, ["192.0.2.1", "192.0.2.2", "192.0.2.3"], at: self.now) == 2)
        #expect(try self.admitted(&rates, ["192.0.3.1"], at: self.now) == 1)
        #expect(try self.admitted(&rates, ["::ffff:192.0.2.9"], at: self.now) == 0)
        #expect(
            try self.admitted(&rates, ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"], at: self.now) == 2
        )
        #expect(try self.admitted(&rates, ["2001:db8:2::1"], at: self.now) == 1)
        #expect(try self.admitted(&rates, ["192.0.2.1", "192.0.2.2"], at: self.now + .seconds(1)) == 1)
    }

    @Test("beyond the limit, networks share one rate until others are idle")
    func limit() throws {
        var rates = PrefixRates(perSecond: 1, burst: 2)
        let hosts = (0..<PrefixRates.maximumNetworks).map { "10.\($0 / 256).\($0 % 256).1" }
        #expect(try self.admitted(&rates, hosts, at: self.now) == hosts.count)
        let further = (0..<10).map { "11.0.\($0).1" }
        #expect(try self.admitted(&rates, further, at: self.now) == 2)
        #expect(try self.admitted(&rates, further, at: self.now + .seconds(2)) == 10)
    }
}
