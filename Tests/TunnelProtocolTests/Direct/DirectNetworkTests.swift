//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport
import Testing

@testable import TunnelProtocol

@Suite("Sessions over relays and NATs, simulated")
struct DirectNetworkTests {
    private static func nat(_ kind: Int, _ last: UInt8) -> SimulatedNAT? {
        switch kind {
        case 0: nil
        case 1: SimulatedNAT(.endpointIndependent, .endpointIndependent, address: [198, 18, 0, last])
        case 2: SimulatedNAT(.endpointIndependent, .portDependent, address: [198, 18, 0, last])
        default: SimulatedNAT(.symmetric, .portDependent, address: [198, 18, 0, last])
        }
    }

    private func session(_ seed: UInt64, sending bytes: [UInt8]) -> SimulatedSession {
        var configuration = SessionConfiguration()
        configuration.usesDatagrams = true
        var weather = SimulatedSession.Weather()
        weather.delay = .milliseconds(60)
        weather.bytesPerSecond = 200_000
        let session = SimulatedSession(seed: seed, weather: [weather, weather], configuration: configuration)
        session.dial = { _, _ in .success(bytes) }
        session.run(for: .seconds(1))
        return session
    }

    @Test("two port-restricted NATs are passed within two seconds, and relays then carry almost nothing")
    func found() throws {
        let bytes = patterned(2_000_000, seed: 1)
        let session = self.session(1, sending: bytes)
        let network = try SimulatedDirectNetwork(session, client: Self.nat(2, 1), exit: Self.nat(2, 2))
        #expect(session.run(for: .seconds(2)) { network.isFound })
        session.run(for: .seconds(1))
        let before = session.published.count
        let id = session.open(1, sending: [1])
        #expect(session.run(for: .seconds(60)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
        let packets = session.published[before...]
        #expect(packets.count { $0.path != .direct } * 50 < packets.count)
        #expect(network.found == [1, 1] && network.lost == [0, 0])
    }

    @Test("a NAT that rebinds every five seconds stops no transfer for more than a second", arguments: [0, 1])
    func rebinding(end: Int) throws {
        let bytes = patterned(6_000_000, seed: 2)
        let session = self.session(2, sending: bytes)
        let network = try SimulatedDirectNetwork(session, client: Self.nat(2, 1), exit: Self.nat(2, 2))
        #expect(session.run(for: .seconds(2)) { network.isFound })
        let id = session.open(1, sending: [1])
        var received = 0
        var quiet = 0
        var longest = 0
        var step = 0
        while session.streams[0][id]?.data.count != bytes.count, step < 1_200 {
            session.run(for: .milliseconds(100))
            let count = session.streams[0][id]?.data.count ?? 0
            quiet = count == received ? quiet + 1 : 0
            longest = max(longest, quiet)
            received = count
            step += 1
            if step % 50 == 0 { network.rebind(end) }
        }
        #expect(session.streams[0][id]?.data == bytes)
        #expect(longest <= 10, "\(longest) tenths of a second")
        #expect(session.reports[.protocolViolation] == nil)
    }

    @Test(
        "NATs appear, change, rebind and vanish, and the path is cut: every byte arrives, and a direct path is found at the end",
        arguments: 1...12 as ClosedRange<UInt64>
    )
    func changing(seed: UInt64) throws {
        let bytes = patterned(3_000_000, seed: seed)
        let session = self.session(seed, sending: bytes)
        let kinds = (0...1).map { _ in session.random(0...3) }
        let network = try SimulatedDirectNetwork(
            session,
            client: Self.nat(kinds[0], 1),
            exit: Self.nat(kinds[1], 2)
        )
        let id = session.open(1, sending: patterned(300_000, seed: seed + 1))
        for _ in 0..<15 {
            session.run(for: .milliseconds(Int64(session.random(200...4_000))))
            let end = session.random(0...1)
            switch session.random(0...3) {
            case 0: network.rebind(end)
            case 1: network.move(end, behind: Self.nat(session.random(1...3), UInt8(session.random(10...200))))
            case 2: network.move(end, behind: nil)
            default: network.isCut.toggle()
            }
        }
        network.isCut = false
        network.move(1, behind: nil)
        #expect(session.run(for: .seconds(120)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
        #expect(session.streams[1][id]?.data.count == 300_000)
        #expect(session.run(for: .minutes(3)) { network.isFound })
        #expect(session.reports[.protocolViolation] == nil)
    }

    @Test("two symmetric NATs are not passed, and relays carry the session")
    func symmetric() throws {
        let bytes = patterned(300_000, seed: 4)
        let session = self.session(4, sending: bytes)
        let network = try SimulatedDirectNetwork(session, client: Self.nat(3, 1), exit: Self.nat(3, 2))
        let id = session.open(1, sending: [1])
        #expect(session.run(for: .seconds(30)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
        // Both look again from time to time, which costs the relays little.
        let before = session.published.count
        session.run(for: .minutes(30))
        #expect(!network.isFound)
        #expect(session.published.count - before < 30 * 4, "\(session.published.count - before) events in 30 minutes")
    }
}
