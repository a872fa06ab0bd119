//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import Testing

@testable import TunnelProtocol

/// The streams of a session, without packets and paths.
@Suite("Streams of a session")
struct StreamSetTests {
    private static let first = StreamID(rawValue: 1)
    private static let second = StreamID(rawValue: 2)
    private static let request = StreamRequest(destination: "x.nostr", port: 80)
    private let configuration: SessionConfiguration
    private var streams: StreamSet
    private var context: SessionContext

    init() {
        self.init(role: .client)
    }

    private init(
        role: SessionStateMachine.Role,
        sessionCredit: UInt64 = 1 << 20,
        streams: Int = 4,
        identity: ClientIdentity? = nil
    ) {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = streams
        var peer = SessionParameters(configuration)
        peer.maximumData = sessionCredit
        self.configuration = configuration
        self.streams = StreamSet(role: role, configuration: SharedSessionConfiguration(configuration), peer: peer)
        self.context = SessionContext(
            now: Moment(monotonic: .uptimeNanoseconds(1_000_000_000), seconds: 1_800_000_000),
            control: ControlQueue(identity: identity, configuration)
        )
    }

    private mutating func open(_ id: StreamID) {
        _ = self.streams.open(id, Self.request, mayBeReported: true, &self.context)
        self.streams.received(opened: id, &self.context)
    }

    /// The frames of the next packet of `size` bytes.
    private mutating func packet(size: Int, _ selection: SendScheduler.Selection = .all) -> [SessionFrame] {
        var packet = ByteBuffer()
        var frames: [SessionFrame] = []
        self.context.control.write(into: &packet, size: size, &frames, streams: self.streams)
        self.streams.write(into: &packet, size: size, selection, &frames, &self.context)
        return frames
    }

    private static func bytes(_ frames: [SessionFrame], of id: StreamID) -> Int {
        frames.reduce(0) {
            if case .stream(id, _, let data, _) = $1 { $0 + data.readableBytes } else { $0 }
        }
    }

    /// Passes the credit of each stream on as data, and counts it.
    private mutating func useCredit(_ granted: inout [StreamID: Int]) {
        while let action = self.context.actions.popFirst() {
            guard case .credit(let id, let bytes) = action else { continue }
            granted[id, default: 0] += bytes
            self.streams.send(id, ByteBuffer(repeating: 1, count: bytes), at: self.context.now.monotonic)
        }
    }

    @Test("the shared send buffer counts streams that the peer blocks, and streams that end release their part")
    func sendBuffers() {
        var test = Self(role: .client, streams: 400)
        var granted: [StreamID: Int] = [:]
        let limit = SendBudget.total + 400 * SendBudget.minimum
        for raw in 1...UInt64(400) {
            test.open(StreamID(rawValue: raw))
            test.useCredit(&granted)
            // A part is sent, until the peer allows no more.
            for _ in 0..<20 where !test.packet(size: 60_000).isEmpty { test.useCredit(&granted) }
            #expect(test.streams.scheduler.waitingBytes <= limit)
        }
        #expect(granted[Self.first].map { $0 > 262_144 } == true)
        #expect(granted[StreamID(rawValue: 400)] == SendBudget.minimum)
        #expect(test.streams.budget.shared <= SendBudget.total)
        for raw in 2...UInt64(400) {
            test.streams.reset(StreamID(rawValue: raw), .peerLost, by: .driver, &test.context)
        }
        test.streams.received(maximumStreamData: 1 << 30, of: Self.first)
        test.streams.received(maximumData: 1 << 40)
        for _ in 0..<20 {
            _ = test.packet(size: 60_000)
            test.useCredit(&granted)
        }
        #expect(test.streams.scheduler.waitingBytes == SessionConfiguration().sendBuffer)
        #expect(test.streams.budget.shared == SessionConfiguration().sendBuffer - SendBudget.minimum)
        test.streams.reset(Self.first, .peerLost, by: .driver, &test.context)
        #expect(test.streams.budget.shared == 0)
    }

    @Test(
        "the exit gets the identity although it opened the stream, which came with the offer, before OPEN_STREAM was sent"
    )
    func openedBeforeRequest() {
        var test = Self(role: .client, identity: SimulatedSession.identity)
        test.open(Self.first)
        let frames = test.packet(size: 1_000)
        #expect(frames.contains(.identity(SimulatedSession.identity)))
        #expect(frames.contains(.openStream(Self.first, Self.request)))
    }

    @Test("OPEN_STREAM of a stream that was reset is not sent")
    func resetBeforeRequest() {
        var test = Self(role: .client)
        _ = test.streams.open(Self.first, Self.request, mayBeReported: true, &test.context)
        test.streams.reset(Self.first, .cancelled, by: .driver, &test.context)
        let frames = test.packet(size: 1_000)
        #expect(!frames.contains(.openStream(Self.first, Self.request)))
        #expect(frames.contains { if case .resetStream(Self.first, _, _) = $0 { true } else { false } })
    }

    @Test("a stream gets less credit while others send")
    func sendBufferShrinks() {
        var budget = SendBudget(SessionConfiguration())
        var buffered = 0
        #expect(budget.renew(&buffered, sent: 0, among: 1) == 262_144)
        let credits = (0..<14).map { _ in budget.renew(&buffered, sent: 16_384, among: 1_000) }
        #expect(credits == [Int](repeating: 0, count: 12) + [16_384, 16_384] && buffered == 65_536)
        #expect(budget.renew(&buffered, sent: 16_384, among: 100) == 16_384 + SendBudget.total / 100 - 65_536)
        #expect(budget.renew(&buffered, sent: 0, among: 0) == 262_144 - SendBudget.total / 100)
        budget.release(&buffered)
        #expect(budget.shared == 0 && buffered == 0)
    }

    @Test("streams that are bulk transfers share packets, and a small message goes first")
    func order() {
        var test = Self(role: .client)
        test.open(Self.first)
        test.open(Self.second)
        let big = ByteBuffer(repeating: 1, count: 100_000)
        test.streams.send(Self.first, big, at: test.context.now.monotonic)
        _ = test.packet(size: 10_000)
        test.streams.send(Self.second, big, at: test.context.now.monotonic)
        _ = test.packet(size: 10_000)
        let shared = test.packet(size: 10_000)
        #expect(Self.bytes(shared, of: Self.first) > 4_000)
        #expect(Self.bytes(shared, of: Self.second) > 4_000)
        #expect(!test.streams.scheduler.hasSmallMessage(test.streams.table))
        test.open(StreamID(rawValue: 3))
        test.streams.send(StreamID(rawValue: 3), ByteBuffer(string: "hello"), at: test.context.now.monotonic)
        #expect(test.streams.scheduler.hasSmallMessage(test.streams.table))
        let urgent = test.packet(size: 10_000, .smallMessages)
        #expect(Self.bytes(urgent, of: StreamID(rawValue: 3)) == 5)
        #expect(Self.bytes(urgent, of: Self.first) == 0)
    }

    @Test("without session credit no new bytes are sent, but lost bytes are")
    func sessionCredit() {
        var test = Self(role: .client, sessionCredit: 1_000)
        test.open(Self.first)
        test.streams.send(Self.first, ByteBuffer(repeating: 1, count: 5_000), at: test.context.now.monotonic)
        let sent = test.packet(size: 10_000)
        #expect(Self.bytes(sent, of: Self.first) == 1_000)
        #expect(Self.bytes(test.packet(size: 10_000), of: Self.first) == 0)
        #expect(test.streams.scheduler.isEmpty)
        for frame in sent { test.streams.lost(frame, &test.context) }
        #expect(Self.bytes(test.packet(size: 10_000), of: Self.first) == 1_000)
        test.streams.received(maximumData: 3_000)
        #expect(Self.bytes(test.packet(size: 10_000), of: Self.first) == 2_000)
    }

    @Test("lost frames are sent again with current values, and only while they are needed")
    func repeated() throws {
        var test = Self(role: .client)
        _ = test.streams.open(Self.first, Self.request, mayBeReported: true, &test.context)
        let opening = test.packet(size: 1_000)
        let limit = UInt64(SessionConfiguration().openStreamWindow)
        #expect(opening == [.openStream(Self.first, Self.request), .maximumStreamData(Self.first, limit)])
        test.streams.lost(opening[0], &test.context)
        #expect(test.packet(size: 1_000) == opening)
        test.streams.received(opened: Self.first, &test.context)
        test.streams.lost(opening[0], &test.context)
        #expect(test.packet(size: 1_000) == [])
        test.streams.reset(Self.first, .cancelled, by: .driver, &test.context)
        let reset = test.packet(size: 1_000)
        #expect(reset.count == 2)
        for frame in reset { test.streams.lost(frame, &test.context) }
        #expect(test.packet(size: 1_000) == reset)
        test.streams.acknowledged(reset[0], &test.context)
        test.streams.lost(reset[0], &test.context)
        #expect(test.packet(size: 1_000) == [])
    }

    @Test("the answer to the reset of a stream that never arrived is repeated if it is lost")
    func unopenedReset() throws {
        var test = Self(role: .exit)
        try test.streams.received(reset: Self.first, .cancelled, finalSize: 0, &test.context)
        let answer = test.packet(size: 1_000)
        #expect(answer == [.resetStream(Self.first, code: StreamEnd.cancelled.code, finalSize: 0)])
        test.streams.lost(answer[0], &test.context)
        #expect(test.packet(size: 1_000) == answer)
        // A request that arrives later is ignored.
        try test.streams.received(open: Self.first, Self.request, &test.context)
        #expect(test.streams.table.isEmpty)
    }

    @Test("an exit ignores data before the request, and refuses requests above the limit one by one")
    func opening() throws {
        var test = Self(role: .exit)
        let isKept = try test.streams.received(
            Self.first,
            offset: 0,
            ByteBuffer(string: "early"),
            isFinal: false,
            &test.context
        )
        #expect(!isKept)
        #expect(test.context.actions.isEmpty)
        for number in 1...5 {
            try test.streams.received(open: StreamID(rawValue: UInt64(number)), Self.request, &test.context)
        }
        var incoming = 0
        var reports = 0
        for action in test.context.actions {
            switch action {
            case .incoming: incoming += 1
            case .report(.tooManyStreams): reports += 1
            default: break
            }
        }
        #expect(incoming == 4)
        #expect(reports == 1)
    }

    @Test("data beyond the session's or the stream's credit, or beyond the end, is a violation")
    func violations() throws {
        var test = Self(role: .exit)
        let tooFar = UInt64(test.configuration.initialStreamWindow)
        let byte = ByteBuffer(string: "x")
        for id in [Self.first, Self.second] { try test.streams.received(open: id, Self.request, &test.context) }
        #expect(throws: SessionViolation.self) {
            try test.streams.received(Self.first, offset: tooFar, byte, isFinal: false, &test.context)
        }
        _ = try test.streams.received(Self.second, offset: 0, byte, isFinal: true, &test.context)
        #expect(throws: SessionViolation.self) {
            try test.streams.received(Self.second, offset: 1, byte, isFinal: false, &test.context)
        }
        var client = Self(role: .client)
        #expect(throws: SessionViolation.self) {
            try client.streams.received(Self.first, offset: 0, byte, isFinal: false, &client.context)
        }
    }

    @Test("data after the end is dropped and not counted as waiting")
    func dataAfterEnd() {
        var test = Self(role: .client)
        test.open(Self.first)
        test.streams.finish(Self.first)
        test.streams.send(Self.first, ByteBuffer(string: "late"), at: test.context.now.monotonic)
        #expect(test.streams.scheduler.waitingBytes == 0)
    }

    @Test("a stream that is reset while it waits for credit leaves the queue")
    func resetWhileBlocked() {
        var test = Self(role: .client, sessionCredit: 10)
        test.open(Self.first)
        test.streams.send(Self.first, ByteBuffer(repeating: 1, count: 100), at: test.context.now.monotonic)
        _ = test.packet(size: 1_000)
        test.streams.reset(Self.first, .cancelled, by: .driver, &test.context)
        #expect(test.streams.scheduler.waitingBytes == 0)
        test.streams.received(maximumData: 1_000)
        #expect(test.streams.scheduler.isEmpty)
    }

    private mutating func reports(_ number: UInt64, mayBeReported: Bool = true) -> Bool {
        let id = StreamID(rawValue: number)
        let isOpen = self.streams.open(id, Self.request, mayBeReported: mayBeReported, &self.context)
        return isOpen && self.context.actions.contains { if case .opened(id) = $0 { true } else { false } }
    }

    @Test("a stream to a service that connected within the last minute is reported as open at once")
    func recentService() {
        var test = Self(role: .client)
        let firstIsReported = test.reports(1)
        #expect(!firstIsReported)
        test.streams.received(opened: Self.first, &test.context)
        let secondIsReported = test.reports(3, mayBeReported: false)
        #expect(!secondIsReported)
        test.streams.reset(StreamID(rawValue: 3), .cancelled, by: .driver, &test.context)
        let thirdIsReported = test.reports(5)
        #expect(thirdIsReported)
        // The service refuses.
        test.streams.reset(StreamID(rawValue: 5), .refused, by: .peer, &test.context)
        let fourthIsReported = test.reports(7)
        #expect(!fourthIsReported)
        test.streams.received(opened: StreamID(rawValue: 7), &test.context)
        let now = test.context.now
        test.context.now = Moment(monotonic: now.monotonic + RecentServices.lifetime, seconds: now.seconds + 60)
        let fifthIsReported = test.reports(9)
        #expect(!fifthIsReported)
    }
}
