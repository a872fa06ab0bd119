//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport
import Testing

@testable import TunnelProtocol

@Suite("Sessions with a direct path, simulated")
struct DirectSessionTests {
    /// A session over one relay and the direct path, whose exit sends `bytes` on stream 1.
    private func session(
        _ seed: UInt64,
        sending bytes: [UInt8],
        _ direct: SimulatedSession.DirectNetwork
    ) -> SimulatedSession {
        var configuration = SessionConfiguration()
        configuration.usesDatagrams = true
        var weather = SimulatedSession.Weather()
        weather.delay = .milliseconds(60)
        // The relay is slower than the direct path.
        weather.bytesPerSecond = 200_000
        let session = SimulatedSession(seed: seed, weather: [weather], configuration: configuration)
        session.dial = { _, _ in .success(bytes) }
        session.direct = direct
        session.run(for: .seconds(1))
        session.connectDirectly()
        session.run(for: .seconds(1))
        return session
    }

    @Test(
        "data takes the direct path, and all of it arrives in spite of loss and reordering",
        arguments: 1...4 as ClosedRange<UInt64>
    )
    func lossy(seed: UInt64) {
        let bytes = patterned(400_000, seed: seed)
        let network = SimulatedSession.DirectNetwork(jitter: .milliseconds(seed % 2 == 0 ? 4 : 0), loss: 0.01)
        let session = self.session(seed, sending: bytes, network)
        let before = session.published.count
        let id = session.open(1, sending: [1, 2, 3])
        #expect(session.run(for: .seconds(60)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
        let packets = session.published[before...]
        let relayed = packets.count { $0.path != .direct }
        #expect(relayed * 10 < packets.count, "\(relayed) of \(packets.count)")
        #expect(session.reports[.protocolViolation] == nil)
    }

    @Test("when the direct path is cut, the relay carries on within a second, and nothing is lost")
    func cut() {
        let bytes = patterned(800_000, seed: 5)
        let session = self.session(5, sending: bytes, SimulatedSession.DirectNetwork())
        let id = session.open(1, sending: [1])
        #expect(session.run(for: .seconds(30)) { (session.streams[0][id]?.data.count ?? 0) > 200_000 })
        session.direct.isCut = true
        let received = session.streams[0][id]?.data.count ?? 0
        let gap = session.run(for: .seconds(1)) { (session.streams[0][id]?.data.count ?? 0) > received + 20_000 }
        #expect(gap)
        #expect(session.run(for: .seconds(60)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
    }

    @Test("while the direct path delivers, a relay carries two to four events a minute, which show that it works")
    func standby() {
        let bytes = patterned(10_000, seed: 7)
        let session = self.session(7, sending: bytes, SimulatedSession.DirectNetwork())
        let id = session.open(1, sending: [1])
        #expect(session.run(for: .seconds(10)) { session.streams[0][id]?.data.count == bytes.count })
        session.run(for: .seconds(10))
        let before = session.published.count
        session.run(for: .minutes(10))
        let relayed = session.published[before...].count { $0.path != .direct }
        #expect((18...40).contains(relayed), "\(relayed) events in ten minutes")
        #expect(session.reports[.protocolViolation] == nil)
    }

    @Test("after a cut, data returns to the direct path")
    func comesBack() {
        let bytes = patterned(1_500_000, seed: 6)
        let session = self.session(6, sending: bytes, SimulatedSession.DirectNetwork())
        let id = session.open(1, sending: [1])
        _ = session.run(for: .seconds(30)) { (session.streams[0][id]?.data.count ?? 0) > 200_000 }
        session.direct.isCut = true
        for end in 0...1 { session.ends[end].removePath(.direct, at: session.moment) }
        session.run(for: .milliseconds(700))
        session.direct.isCut = false
        session.connectDirectly()
        session.run(for: .milliseconds(200))
        let before = session.published.count
        #expect(session.run(for: .seconds(60)) { session.streams[0][id]?.data.count == bytes.count })
        #expect(session.streams[0][id]?.data == bytes)
        let packets = session.published[before...]
        #expect(packets.count { $0.path == .direct } * 10 > packets.count * 9)
    }
}
