//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

@Suite("Liveness of a session")
struct LivenessTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private let configuration = SessionConfiguration()

    @Test("a peer is lost after a timeout without packets")
    func peerTimeout() {
        var liveness = Liveness(
            role: .exit,
            configuration: SharedSessionConfiguration(self.configuration),
            now: Self.start
        )
        #expect(liveness.peerDeadline == Self.start + self.configuration.peerTimeout)
        liveness.heard(at: Self.start + .seconds(5))
        #expect(liveness.peerDeadline == Self.start + .seconds(5) + self.configuration.peerTimeout)
    }

    @Test("a client queries the exit about an unanswered packet, at growing intervals, until the exit answers")
    func queries() {
        var liveness = Liveness(
            role: .client,
            configuration: SharedSessionConfiguration(self.configuration),
            now: Self.start
        )
        #expect(liveness.queryDeadline == nil)
        liveness.sentEliciting(at: Self.start)
        var due = Self.start + self.configuration.suspicion
        #expect(liveness.queryDeadline == due)
        for factor in [2, 4, 8, 8] {
            liveness.sentQuery(isUrgent: false, at: due)
            due = due + .nanoseconds(self.configuration.suspicion.nanoseconds * Int64(factor))
            #expect(liveness.queryDeadline == due)
        }
        liveness.heard(at: due)
        #expect(liveness.queryDeadline == nil)
    }

    @Test("an exit sends no queries")
    func exit() {
        var liveness = Liveness(
            role: .exit,
            configuration: SharedSessionConfiguration(self.configuration),
            now: Self.start
        )
        liveness.sentEliciting(at: Self.start)
        liveness.querySooner(at: Self.start)
        #expect(liveness.queryDeadline == nil)
    }

    @Test("urgent queries are 800 ms apart")
    func urgent() {
        var liveness = Liveness(
            role: .client,
            configuration: SharedSessionConfiguration(self.configuration),
            now: Self.start
        )
        liveness.querySooner(at: Self.start)
        #expect(liveness.queryDeadline == Self.start)
        liveness.sentQuery(isUrgent: true, at: Self.start)
        liveness.querySooner(at: Self.start + .milliseconds(100))
        #expect(liveness.queryDeadline == Self.start + .milliseconds(800))
    }

    @Test("a client that only receives checks the exit sooner than the keep-alive interval")
    func keepAlive() {
        var client = Liveness(
            role: .client,
            configuration: SharedSessionConfiguration(self.configuration),
            now: Self.start
        )
        func deadline(_ roundTrip: TimeAmount) -> NIODeadline { client.keepAliveDeadline(roundTrip: roundTrip) }
        #expect(deadline(.milliseconds(100)) == Self.start + self.configuration.keepAlive)
        client.heard(at: Self.start + .seconds(1))
        client.heardData(at: Self.start + .seconds(1))
        #expect(deadline(.milliseconds(50)) == Self.start + .milliseconds(1_300))
        #expect(deadline(.milliseconds(200)) == Self.start + .milliseconds(1_600))
        #expect(deadline(.seconds(5)) == Self.start + .seconds(1) + self.configuration.suspicion)
        client.sentKeepAlive(at: Self.start + .seconds(3))
        #expect(deadline(.milliseconds(100)) == Self.start + .seconds(3) + self.configuration.keepAlive)
    }
}
