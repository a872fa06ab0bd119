//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import Tunnel

@Suite("Rates of what clients cause")
struct LogRatesTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("each topic has its own rate, and what is left out is reported every ten seconds")
    func topics() {
        var rates = LogRates(now: Self.now)
        let streams = (0..<1_000).filter { _ in rates.admit(.streams, at: Self.now) }.count
        let problems = (0..<1_000).filter { _ in rates.admit(.problems, at: Self.now) }.count
        #expect(streams == 100 && problems == 10)
        let early = rates.report(at: Self.now + .seconds(9))
        let due = rates.report(at: Self.now + .seconds(10))
        let again = rates.report(at: Self.now + .seconds(30))
        #expect(early == nil && due == 1_890 && again == nil)
    }

    @Test("each client opens streams at its own rate, also when there are too many clients to store")
    func connects() throws {
        var rates = ConnectRates(perSecond: 10)
        func key(_ number: Int) -> PublicKey {
            PublicKey(unchecked: Bytes32.sha256(of: [UInt8(number & 255), UInt8(number >> 8)]))
        }
        let first = (0..<50).filter { _ in rates.admit(key(0), at: Self.now) }.count
        #expect(first == 20)
        for number in 1..<ConnectRates.maximumClients { _ = rates.admit(key(number), at: Self.now) }
        let others = (0..<50).filter { rates.admit(key(40_000 + $0), at: Self.now) }.count
        #expect(others == 20)
        rates.sweep(at: Self.now + .seconds(60))
        let again = (0..<50).filter { _ in rates.admit(key(1), at: Self.now + .seconds(60)) }.count
        #expect(again == 20)
    }
}
