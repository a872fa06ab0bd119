//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TestSupport
import Testing

@testable import TunnelProtocol

@Suite("Sessions with hostile relays and peers")
struct SessionHostilityTests {
    private static let path = PathID(rawValue: 0)

    @Test("replayed, reflected and misrouted packets are counted and have no effect")
    func replay() {
        let session = SimulatedSession(seed: 1, weather: [.init(), .init()])
        session.recordsPackets = true
        let (up, down) = (patterned(300_000, seed: 2), patterned(400_000, seed: 3))
        session.dial = { _, _ in .success(down) }
        let id = session.open(1, sending: up) { $0.finishesAfterSending = false }
        session.run(for: .seconds(2))
        let recorded = session.recorded
        session.recordsPackets = false
        let before = session.published.count
        let observed = session.streams
        for packet in recorded {
            // To its receiver again, back to its sender, and to its receiver through the other relay.
            session.inject(packet.plaintext, path: packet.path, to: 1 - packet.by)
            session.inject(packet.plaintext, path: packet.path, to: packet.by)
            session.inject(packet.plaintext, path: PathID(rawValue: 1 - packet.path.rawValue), to: 1 - packet.by)
        }
        session.settle()
        #expect(session.reports[.repeatedPacket] == recorded.count)
        #expect(session.reports[.reflected] == recorded.count)
        #expect(session.reports[.wrongPath] == recorded.count)
        #expect(session.published.count == before)
        for end in 0...1 {
            #expect(session.streams[end].count == observed[end].count)
            #expect(session.streams[end][id]?.data == observed[end][id]?.data)
        }
        session.run(for: .seconds(1))
        #expect(session.streams[0][id]?.ended == nil)
        #expect(!session.ends[0].isOver && !session.ends[1].isOver)
    }

    @Test("packets with a malformed header are counted and do not end the session")
    func garbage() {
        let session = SimulatedSession(seed: 4, weather: [.init()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(1))
        var generator = SeededGenerator(seed: 5)
        for length in 0..<400 {
            var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            // Half of the inputs have a valid first byte, and a path that does not exist.
            if !bytes.isEmpty { bytes[0] = length.isMultiple(of: 2) ? 0x10 : bytes[0] | 0x80 }
            if bytes.count > 1 { bytes[1] = 0x3f }
            session.inject(bytes, path: Self.path, to: 1)
        }
        session.settle()
        session.run(for: .seconds(1))
        #expect(session.streams[1][id]?.ended == nil)
        #expect(!session.ends[1].isOver)
        #expect(session.reports[.malformedMessage] == 400)
    }

    @Test(
        "a frame of an unknown type, or one that is cut short, ends the session",
        arguments: [[0x3f], [0x10], [0x04, 1]]
    )
    func malformedFrame(frame: [UInt8]) {
        let session = SimulatedSession(seed: 4, weather: [.init()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(1))
        session.inject([0x10, 0, 0x40, 0x63] + frame, path: Self.path, to: 1)
        session.run(for: .seconds(1))
        #expect(session.streams[0][id]?.ended == .some(.protocolViolation))
    }

    @Test("a packet that is repeated or came by another relay is ignored, whatever it contains")
    func ignoredPackets() {
        let session = SimulatedSession(seed: 4, weather: [.init()])
        session.run(for: .seconds(1))
        session.inject([0x10, 0, 0, 0x3f], path: Self.path, to: 1)
        session.inject([0x10, 3, 0x40, 0x63, 0x3f], path: Self.path, to: 1)
        session.run(for: .seconds(1))
        #expect(!session.ends[1].isOver)
        #expect(session.reports[.repeatedPacket] == 1 && session.reports[.wrongPath] == 1)
    }

    @Test("data of a stream that was not opened is neither kept nor acknowledged")
    func unopenedStream() {
        let session = SimulatedSession(seed: 4, weather: [.init()])
        session.run(for: .seconds(1))
        let (id, data) = (StreamID(rawValue: 1), ByteBuffer(repeating: 1, count: 1_000))
        func packet(_ number: UInt64, _ frames: [SessionFrame]) -> [UInt8] {
            var packet = ByteBuffer()
            SessionPacketHeader(path: Self.path, number: number).encode(isFromExit: false, into: &packet)
            for frame in frames { frame.encode(into: &packet) }
            return Array(packet.readableBytesView)
        }
        let early = packet(1_000, [.stream(id, offset: 0, data: data, isFinal: false)])
        let request = StreamRequest(destination: "x.nostr", port: 80)
        session.inject(early, path: Self.path, to: 1)
        session.settle()
        #expect(session.ends[1].heldBytes == 0)
        #expect(session.ends[1].isIdle)
        #expect(session.reports[.unknownStream] == 1)
        // The packet was not acknowledged, so the same number is accepted when the stream is open.
        session.inject(packet(1_001, [.openStream(id, request)]), path: Self.path, to: 1)
        session.inject(early, path: Self.path, to: 1)
        session.settle()
        #expect(session.streams[1][id]?.data.count == 1_000)
    }

    /// Protocol violations of a peer that has the session keys.
    enum Offence: CaseIterable {
        case creditOfStream, beyondTheEnd, unsentPackets, twoEnds, secondKey, secondIdentity, gaps, acknowledgements

        var frames: [SessionFrame] {
            let id = StreamID(rawValue: 1)
            let byte = ByteBuffer(bytes: [1])
            let key = PublicKey(unchecked: .zero)
            switch self {
            case .creditOfStream: return [.stream(id, offset: 1 << 40, data: byte, isFinal: false)]
            case .beyondTheEnd:
                return [
                    .stream(id, offset: 9, data: byte, isFinal: true),
                    .stream(id, offset: 20, data: byte, isFinal: false),
                ]
            case .unsentPackets:
                return [.acknowledgement(.init(path: SessionHostilityTests.path, delay: 0, ranges: [0...1_000_000]))]
            case .twoEnds:
                return [
                    .stream(id, offset: 9, data: byte, isFinal: true),
                    .stream(id, offset: 20, data: byte, isFinal: true),
                ]
            case .secondIdentity:
                let other = ClientIdentity(
                    generation: 0,
                    publicKey: key,
                    signature: SimulatedSession.identity.signature
                )
                return [.identity(SimulatedSession.identity), .identity(other)]
            case .gaps:
                return (1...5_000).map { .stream(id, offset: 2 * $0, data: byte, isFinal: false) }
            case .acknowledgements:
                let one = SessionFrame.acknowledgement(
                    .init(path: SessionHostilityTests.path, delay: 0, ranges: [0...0])
                )
                return [one, one]
            case .secondKey:
                let update = KeyUpdate(
                    generation: 7,
                    key: key,
                    content: .client(encapsulationKey: [UInt8](repeating: 1, count: KeyEncapsulation.keyLength))
                )
                var stream = CryptoStream()
                return stream.frames(of: update)
            }
        }
    }

    @Test("a protocol violation ends the session at both ends", arguments: Offence.allCases)
    func violations(offence: Offence) {
        let session = SimulatedSession(seed: 6, weather: [.init()])
        let id = session.open(1) { $0.finishesAfterSending = false }
        session.run(for: .seconds(1))
        var packet = ByteBuffer()
        SessionPacketHeader(path: Self.path, number: 1_000).encode(isFromExit: false, into: &packet)
        for frame in offence.frames { frame.encode(into: &packet) }
        session.inject(Array(packet.readableBytesView), path: Self.path, to: 1)
        session.run(for: .seconds(1))
        #expect(session.reports[.protocolViolation] == 1)
        #expect(session.streams[1][id]?.ended == .some(.protocolViolation))
        #expect(session.streams[0][id]?.ended == .some(.protocolViolation))
    }

    @Test("resets of streams that were never opened use bounded memory")
    func streamNumbers() {
        var configuration = SessionConfiguration()
        configuration.maximumStreams = 8
        let session = SimulatedSession(seed: 7, weather: [.init()], configuration: configuration)
        session.run(for: .seconds(1))
        for index in 0..<UInt64(2_000) where !session.ends[1].isOver {
            var packet = ByteBuffer()
            SessionPacketHeader(path: Self.path, number: 1_000 + index).encode(isFromExit: false, into: &packet)
            // Resetting every second stream number before it is opened leaves a gap each time.
            SessionFrame.resetStream(StreamID(rawValue: 1 + 2 * index), code: 1, finalSize: 0).encode(into: &packet)
            session.inject(Array(packet.readableBytesView), path: Self.path, to: 1)
            session.settle()
            #expect(session.ends[1].streams.table.closed.intervals.count <= 16)
            #expect(session.ends[1].context.control.count <= 64)
        }
    }

    @Test("the number of queued answers to resets of unknown streams is bounded")
    func unknownResets() {
        let session = SimulatedSession(seed: 8, weather: [.init()])
        session.run(for: .seconds(1))
        for packet in 0..<40 {
            var bytes = ByteBuffer()
            SessionPacketHeader(path: Self.path, number: 1_000 + UInt64(packet)).encode(isFromExit: false, into: &bytes)
            for index in 1...1_000 {
                let id = StreamID(rawValue: UInt64(packet * 1_000 + index))
                SessionFrame.resetStream(id, code: 1, finalSize: 0).encode(into: &bytes)
            }
            session.ends[1].receive(
                Array(bytes.readableBytesView),
                createdAt: 0,
                generation: 0,
                path: Self.path,
                at: session.moment
            )
        }
        #expect(!session.ends[1].isOver)
        #expect(session.ends[1].context.control.count <= 1_024 + 8 * 1_024)
    }

    @Test("an ended session does nothing, whatever it is told")
    func afterTheEnd() {
        let session = SimulatedSession(seed: 9, weather: [.init()])
        session.run(for: .seconds(1))
        for end in 0...1 {
            session.ends[end].close(nil, at: session.moment)
            while session.ends[end].nextAction() != nil {}
            let id = StreamID(rawValue: 1)
            session.ends[end].receiveEarly(
                StreamRequest(destination: "x.nostr", port: 80),
                ByteBuffer(),
                at: session.moment
            )
            session.ends[end].removePath(Self.path, at: session.moment)
            session.connect(end, Self.path)
            session.ends[end].setWritable(Self.path, true, at: session.moment)
            session.ends[end].connected(id, at: session.moment)
            session.ends[end].send(id, ByteBuffer(string: "x"), at: session.moment)
            session.ends[end].finish(id, at: session.moment)
            session.ends[end].reset(id, .cancelled, at: session.moment)
            session.ends[end].consumed(id, 1, at: session.moment)
            session.ends[end].timeout(at: session.moment)
            #expect(session.ends[end].nextAction() == nil)
            #expect(session.ends[end].nextDeadline == nil)
        }
    }
}
