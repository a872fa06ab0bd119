//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import TunnelProtocol

/// The paths of a session, without streams.
@Suite("Paths of a session")
struct PathSetTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private static let zero = PathID(rawValue: 0)
    private static let one = PathID(rawValue: 1)

    private static func description(_ relay: String) -> PathDescription {
        PathDescription(
            relay: relay,
            maximumPlaintext: 40_960,
            largestPlaintext: 40_960,
            createdAtUpperLimit: nil
        )
    }

    private static func paths(_ count: Int) -> PathSet {
        var paths = PathSet(SharedSessionConfiguration(SessionConfiguration()), peerTakes: 40_960)
        for number in 0..<count {
            _ = paths.add(PathID(rawValue: number), Self.description("ws://\(number)"), at: Self.start)
        }
        return paths
    }

    /// Sends a packet of 1,000 bytes on each path, `after` the start, and has it acknowledged after `rtt`.
    private static func measure(_ paths: inout PathSet, _ index: Int, rtt: TimeAmount) throws {
        paths[index].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: Self.start)
        let acknowledgement = SessionFrame.Acknowledgement(path: paths[index].id, delay: 0, ranges: [0...0])
        _ = try paths.acknowledged(acknowledgement, on: acknowledgement.path, at: Self.start + rtt)
    }

    @Test("the first path carries data at once, and another one after an acknowledged probe")
    func probing() throws {
        var paths = Self.paths(2)
        #expect(paths[0].health == .active)
        #expect(paths[1].health == .probing)
        #expect(!paths.probeCarriesData(1))
        #expect(paths.probeCarriesData(0))
        try Self.measure(&paths, 1, rtt: .milliseconds(10))
        #expect(paths[1].health == .active)
    }

    @Test("data takes the fastest path that is writable")
    func fastest() throws {
        var paths = Self.paths(2)
        try Self.measure(&paths, 0, rtt: .milliseconds(80))
        try Self.measure(&paths, 1, rtt: .milliseconds(10))
        let now = Self.start + .seconds(1)
        #expect(paths.forData(SendDemand(bytes: 1_000, room: 1 << 20), at: now) == 1)
        // It is worth to wait for the faster path, but not for longer than the slower one takes.
        paths[1].setWritable(false, at: now)
        #expect(paths.forData(SendDemand(bytes: 1_000, room: 1 << 20), at: now) == nil)
        #expect(paths.forUrgentData(at: now) == nil)
        let again = try #require(paths.urgentDeadline(now))
        #expect(again < now + .milliseconds(40))
        #expect(paths.forUrgentData(at: now + .milliseconds(40)) == 0)
        #expect(paths.forData(SendDemand(bytes: 1_000, room: 1 << 20), at: now + .milliseconds(40)) == 0)
        _ = paths.remove(Self.zero, at: now)
        #expect(paths.forData(SendDemand(bytes: 1_000, room: 1 << 20), at: now) == nil)
    }

    @Test("a path that is removed gives its frames back")
    func removed() {
        var paths = Self.paths(1)
        paths[0].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: Self.start)
        #expect(paths.remove(Self.zero, at: Self.start) == [.ping])
        #expect(paths.remove(Self.zero, at: Self.start) == nil)
        #expect(paths.reachability == .noRelay)
    }

    @Test("a relay without the peer's subscription makes the path doubtful, and all of them make the peer absent")
    func absent() {
        var paths = Self.paths(1)
        paths[0].record(size: 1_000, isAckEliciting: true, frames: [.ping], at: Self.start)
        let frames = paths.published(0, .rejected(.noSubscriber), on: 0, at: Self.start)
        #expect(frames == [.ping])
        #expect(paths[0].health == .probing)
        #expect(paths.reachability == .peerIsAbsent)
        // It may be about to subscribe.
        let time = TimeAmount.seconds(3)
        #expect(paths.reachability(absentFor: time, at: Self.start + .seconds(2)) == .reachable)
        #expect(paths.reachability(absentFor: time, at: Self.start + time) == .peerIsAbsent)
        paths[0].heard(at: Self.start)
        #expect(paths.reachability == .reachable)
        // What a relay said before it was connected again counts no more.
        paths[0].wasDeserted(at: Self.start)
        _ = paths.remove(Self.zero, at: Self.start)
        _ = paths.add(Self.zero, Self.description("ws://0"), at: Self.start)
        #expect(paths.reachability == .reachable)
    }

    @Test("an acknowledgement of a packet that was never sent is a violation")
    func violation() {
        var paths = Self.paths(1)
        let acknowledgement = SessionFrame.Acknowledgement(path: Self.zero, delay: 0, ranges: [0...0])
        #expect(throws: SessionViolation.self) {
            try paths.acknowledged(acknowledgement, on: acknowledgement.path, at: Self.start)
        }
    }

    @Test("a packet counts once, and only on the path in its header")
    func received() throws {
        var paths = Self.paths(2)
        let header = SessionPacketHeader(path: Self.one, number: 7)
        #expect(try paths.received(header, on: Self.one, at: Self.start) == 1)
        #expect(throws: PacketRejection.repeated) { try paths.received(header, on: Self.one, at: Self.start) }
        let other = SessionPacketHeader(path: Self.one, number: 8)
        #expect(throws: PacketRejection.wrongPath) { try paths.received(other, on: Self.zero, at: Self.start) }
    }

    @Test("a path with a number above the limit, or one that cannot carry the smallest packet, is not used")
    func limits() {
        var paths = Self.paths(0)
        #expect(
            paths.add(PathID(rawValue: PathID.direct.rawValue + 1), Self.description("ws://x"), at: Self.start)
                == nil
        )
        #expect(paths.add(PathID(rawValue: -1), Self.description("ws://x"), at: Self.start) == nil)
        let small = PathDescription(
            relay: "ws://x",
            maximumPlaintext: 1_023,
            largestPlaintext: 1_023,
            createdAtUpperLimit: nil
        )
        #expect(paths.add(Self.zero, small, at: Self.start) == nil)
        #expect(paths.indices.isEmpty)
    }
}
