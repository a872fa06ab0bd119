//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

/// Which path carries a packet, and what a path forgets, without a network.
@Suite("Choice of a path")
struct PathSchedulingTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)

    private static func description(_ number: Int) -> PathDescription {
        PathDescription(
            relay: "ws://\(number)",
            maximumPlaintext: 40_960,
            largestPlaintext: 40_960,
            createdAtUpperLimit: nil
        )
    }

    /// Paths whose RTT was measured, in the order of their numbers.
    private static func paths(_ roundTrips: TimeAmount...) throws -> PathSet {
        var paths = PathSet(SharedSessionConfiguration(SessionConfiguration()), peerTakes: 40_960)
        for number in roundTrips.indices {
            _ = paths.add(PathID(rawValue: number), Self.description(number), at: Self.start)
        }
        for (index, roundTrip) in roundTrips.enumerated() {
            paths[index].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: Self.start)
            let acknowledgement = SessionFrame.Acknowledgement(path: paths[index].id, delay: 0, ranges: [0...0])
            _ = try paths.acknowledged(acknowledgement, on: acknowledgement.path, at: Self.start + roundTrip)
        }
        return paths
    }

    /// Sends packets on a path until its window is full.
    private static func fill(_ paths: inout PathSet, _ index: Int, at now: NIODeadline) {
        while paths[index].hasRoom {
            paths[index].record(size: paths[index].packetSize, isAckEliciting: true, frames: [], at: now)
        }
    }

    @Test("a far path carries nothing that would keep the near one from sending")
    func blocking() throws {
        var paths = try Self.paths(.milliseconds(10), .milliseconds(500))
        let now = Self.start + .seconds(2)
        Self.fill(&paths, 0, at: now)
        // Ten megabytes take the near path longer than a packet on the far one.
        let ample = SendDemand(bytes: 10 << 20, room: 1 << 30)
        #expect(paths.forData(ample, at: now) == 1)
        // The receiver's window would be full before the packet arrives.
        let scarce = SendDemand(bytes: 10 << 20, room: 64 << 10)
        #expect(paths.forData(scarce, at: now) == nil)
        let again = try #require(paths.sendDeadline(now, scarce))
        #expect(again > now && again <= now + .milliseconds(10))
        // The last 10,000 bytes of a transfer arrive earlier if they wait for the near path.
        #expect(paths.forData(SendDemand(bytes: 10_000, room: 1 << 30), at: now) == nil)
    }

    @Test("a reconnected path forgets its RTT, and acknowledgements of earlier packets do not measure the new one")
    func reconnected() throws {
        var paths = try Self.paths(.milliseconds(10))
        let now = Self.start + .seconds(1)
        paths[0].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: now)
        _ = paths.remove(paths[0].id, at: now)
        #expect(paths.add(paths[0].id, Self.description(0), at: now + .milliseconds(400)) == 0)
        #expect(!paths[0].rtt.hasSample)
        let late = SessionFrame.Acknowledgement(path: paths[0].id, delay: 0, ranges: [1...1])
        _ = try paths.acknowledged(late, on: late.path, at: now + .milliseconds(500))
        #expect(!paths[0].rtt.hasSample)
        paths[0].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: now + .milliseconds(500))
        let fresh = SessionFrame.Acknowledgement(path: paths[0].id, delay: 0, ranges: [2...2])
        _ = try paths.acknowledged(fresh, on: fresh.path, at: now + .milliseconds(570))
        #expect(paths[0].rtt.smoothed == .milliseconds(70))
    }

    @Test("a path that is probing is probed at once when no other one is left")
    func lastPath() throws {
        var paths = try Self.paths(.milliseconds(10), .milliseconds(10))
        let now = Self.start + .seconds(1)
        for _ in 0..<4 {
            paths[1].record(size: 100, isAckEliciting: true, frames: [.ping], at: now)
            let number = paths[1].sent.nextNumber - 1
            _ = paths.published(number, .rejected(.noSubscriber), on: 1, at: now)
            _ = paths.probeTimedOut(1, at: now)
            paths.scheduleProbe(of: 1, at: now)
        }
        let later = try #require(paths.probeDeadline(of: 1))
        #expect(later > now + .milliseconds(100))
        _ = paths.remove(paths[0].id, at: now)
        #expect(paths.probeDeadline(of: 1) == now)
    }

    @Test("when the peer is heard on a new connection, what may have been sent too early is soon probed")
    func peerConnectsLater() {
        var probe = ProbeTimer()
        let roundTrip = TimeAmount.milliseconds(250)
        func deadline() -> NIODeadline? { probe.deadline(oldest: Self.start, isAlone: true, timeout: .seconds(1)) }
        probe.connected()
        probe.sent(isActive: true, at: Self.start)
        #expect(deadline() == Self.start + .seconds(1))
        probe.heard(isActive: true, isWaiting: true, roundTrip: roundTrip, at: Self.start + .milliseconds(30))
        #expect(deadline() == Self.start + roundTrip)
        // An acknowledged packet shows that the peer is there. Later packets are no reason for a probe.
        probe.acknowledged(isEliciting: true, at: Self.start + .milliseconds(40))
        probe.heard(isActive: true, isWaiting: true, roundTrip: roundTrip, at: Self.start + .milliseconds(50))
        #expect(deadline() == Self.start + .seconds(1))
    }

    @Test("a probe for a larger packet that was withdrawn does not count as lost")
    func withdrawn() {
        var sizer = PacketSizer(base: 40_960, largest: 65_535)
        for number in UInt64(0)..<10 {
            #expect(sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535) == 65_535)
            sizer.sent(number, size: 65_535)
            sizer.withdrawn(number)
        }
        for number in UInt64(10)..<13 {
            sizer.sent(number, size: sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535))
            sizer.lost(number, size: 65_535)
        }
        #expect(sizer.sizeOfNext(waiting: 1_000_000, limit: 65_535) == 40_960)
    }
}
