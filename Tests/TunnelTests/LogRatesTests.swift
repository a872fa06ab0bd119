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
        let first = (0..<50).filter { _ in rates.admit(key(0), isKnown: true, at: Self.now) }.count
        #expect(first == 20)
        for number in 1..<ConnectRates.maximumClients { _ = rates.admit(key(number), isKnown: true, at: Self.now) }
        rates.sweep(at: Self.now + .seconds(60))
        let again = (0..<50).filter { _ in rates.admit(key(1), isKnown: true, at: Self.now + .seconds(60)) }.count
        #expect(again == 20)
    }

    @Test("clients without an identity open fewer streams, whatever the number of their keys")
    func strangers() {
        var rates = ConnectRates(perSecond: 100)
        func key(_ number: Int) -> PublicKey {
            PublicKey(unchecked: Bytes32.sha256(of: [UInt8(number & 255), UInt8(number >> 8)]))
        }
        let one = (0..<500).filter { _ in rates.admit(key(0), isKnown: false, at: Self.now) }.count
        #expect(one == 50)
        let many = (0..<20_000).filter { rates.admit(key($0 + 1), isKnown: false, at: Self.now) }.count
        #expect(many == 200)
        let known = (0..<500).filter { _ in rates.admit(key(30_000), isKnown: true, at: Self.now) }.count
        #expect(known >= 200)
        let later = (0..<500).filter { rates.admit(key($0), isKnown: false, at: Self.now + .seconds(1)) }.count
        #expect(later == 50)
    }
}
