//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TestSupport
import Testing

@testable import TunnelProtocol

@Suite("Session wire format")
struct SessionWireTests {
    private static let frames: [SessionFrame] = [
        .ping, .immediateAcknowledgement,
        .acknowledgement(.init(path: PathID(rawValue: 2), delay: 1_234, ranges: [90...100, 5...80, 0...2])),
        .acknowledgement(.init(path: PathID(rawValue: 0), delay: 0, ranges: [0...0])),
        .resetStream(StreamID(rawValue: 77), code: 3, finalSize: 1 << 40),
        .stopSending(StreamID(rawValue: 77), code: 3),
        .stream(StreamID(rawValue: 1), offset: 1 << 33, data: ByteBuffer(bytes: [1, 2, 3]), isFinal: true),
        .stream(StreamID(rawValue: 70_000), offset: 0, data: ByteBuffer(), isFinal: false),
        .maximumData(1 << 50), .maximumStreamData(StreamID(rawValue: 5), 1 << 20),
        .connectionClose(code: 9, reason: "because"),
        .openStream(StreamID(rawValue: 5), StreamRequest(destination: "x.nostr", port: 65_535)),
        .streamOpened(StreamID(rawValue: 5)),
        .crypto(offset: 1 << 20, data: ByteBuffer(bytes: [4, 5, 6])),
        .newTicket(Bytes32.sha256(of: [2]), lifetime: 604_800),
        .duplicateKey(
            DuplicateKeyReport(
                fresh: PublicKey(unchecked: .sha256(of: [3])),
                bodyHash: .sha256(of: [4]),
                signature: SchnorrSignature(Array(repeating: 5, count: SchnorrSignature.length))!
            )
        ),
        .identity(SimulatedSession.identity),
        .newPath(SessionPathOffer(path: PathID(rawValue: 11), relay: "wss://relay.example")),
    ]

    private static var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        for frame in Self.frames {
            let before = buffer.readableBytes
            frame.encode(into: &buffer)
            #expect(buffer.readableBytes - before <= frame.maximumLength)
        }
        return buffer
    }

    @Test("frames survive a round trip, and padding is skipped")
    func roundTrip() throws {
        var buffer = Self.encoded
        buffer.writeBytes([0, 0, 0])
        #expect(try SessionFrameDecoder.decode(buffer) == Self.frames)
    }

    @Test("decoding truncated frames fails or returns fewer frames, and never traps")
    func truncated() {
        let whole = Array(Self.encoded.readableBytesView)
        for length in 0..<whole.count {
            let frames = try? SessionFrameDecoder.decode(ByteBuffer(bytes: whole.prefix(length)))
            #expect((frames?.count ?? 0) < Self.frames.count)
        }
    }

    @Test("corrupted input never traps the decoders", arguments: 0..<20)
    func random(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        let whole = Array(Self.encoded.readableBytesView)
        for _ in 0..<2_000 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...8, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            _ = try? SessionFrameDecoder.decode(ByteBuffer(bytes: bytes))
            _ = SessionAnswer(plaintext: bytes)
            _ = VersionedOffer(encoded: bytes)
            _ = OfferTerms(encoded: bytes)
            _ = AcceptanceTerms(encoded: bytes)
        }
    }

    @Test("impossible values in frames are rejected")
    func impossible() {
        let inputs: [[UInt8]] = [
            // Acknowledgements: first range below zero, gap below zero, too many ranges.
            [0x02, 0, 1, 0, 0, 2], [0x02, 0, 5, 0, 1, 0, 9, 0], [0x02, 0, 5, 0, 0x40, 64, 0],
            // A path number above the maximum.
            [0x02, 17, 5, 0, 0, 0],
            // Stream data that ends beyond the largest offset, 2^62 - 1.
            [0x0e, 1] + [UInt8](repeating: 0xff, count: 8) + [1, 1],
            // Lengths beyond the end of the packet.
            [0x0e, 1, 0, 5, 1], [0x1c, 0, 9, 1], [0x45, 1, 1, 2, 3], [0x06, 0, 5, 1],
            // A port above 65,535; an unknown frame type.
            [0x40, 0x40, 1, 0x80, 1, 0, 0, 0], [0x3f],
        ]
        for input in inputs {
            #expect(throws: SessionDecodingError.self) { try SessionFrameDecoder.decode(ByteBuffer(bytes: input)) }
        }
    }

    @Test("the first byte encodes version and kind, and cannot start a JSON message")
    func prefix() throws {
        for byte in UInt8.min...UInt8.max {
            guard PlaintextKind(rawValue: byte) != nil else { continue }
            #expect(byte != UInt8(ascii: "{") && byte != UInt8(ascii: " ") && byte != UInt8(ascii: "\n"))
        }
        var buffer = ByteBuffer()
        SessionPacketHeader(path: PathID(rawValue: 3), number: 1 << 40).encode(isFromExit: true, into: &buffer)
        var copy = buffer
        #expect(try SessionPacketHeader(&copy, isFromExit: true) == .init(path: PathID(rawValue: 3), number: 1 << 40))
        #expect(throws: SessionDecodingError.wrongDirection) { try SessionPacketHeader(&buffer, isFromExit: false) }
    }

    @Test("stream end codes are stable, and unknown codes mean connection reset")
    func reasons() {
        #expect(StreamEnd.refused.code == 1)
        #expect(StreamEnd.unknownSession.code == 17)
        for reason in StreamEnd.allCases { #expect(StreamEnd(code: reason.code) == reason) }
        #expect(StreamEnd(code: 0) == .connectionReset)
        #expect(StreamEnd(code: .max) == .connectionReset)
    }
}

@Suite("Session components")
struct SessionPartsTests {
    @Test("an interval set behaves like a set of integers", arguments: 0..<20)
    func intervals(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var set = IntervalSet()
        var model: Set<UInt64> = []
        for _ in 0..<300 {
            let lower = UInt64.random(in: 0..<200, using: &generator)
            let upper = lower + UInt64.random(in: 0..<6, using: &generator)
            if Bool.random(using: &generator) {
                set.insert(lower...upper)
                model.formUnion(lower...upper)
            } else {
                let isNew = set.insert(lower)
                #expect(isNew == model.insert(lower).inserted)
            }
            #expect(set.count == UInt64(model.count))
            let probe = UInt64.random(in: 0..<210, using: &generator)
            #expect(set.contains(probe) == model.contains(probe))
            #expect(set.contains(lower..<upper) == (lower..<upper).allSatisfy { model.contains($0) })
        }
        for (left, right) in zip(set.intervals, set.intervals.dropFirst()) {
            #expect(left.upperBound + 1 < right.lowerBound)
        }
        let intervals = set.intervals
        if intervals.count > 2 {
            let dropped = set.dropLowest(keeping: 2)
            #expect(dropped == intervals[intervals.count - 3].upperBound)
            #expect(set.intervals == Array(intervals.suffix(2)))
        }
    }

    @Test("overlapping data is reassembled in order and without duplicates", arguments: 0..<50)
    func reassembly(seed: Int) throws {
        var generator = SeededGenerator(seed: UInt64(seed))
        let bytes = patterned(3_000, seed: UInt64(seed))
        var stream = ReceiveStream(window: 4_096)
        var output: [UInt8] = []
        var isFinished = false
        while !isFinished {
            let start = Int.random(in: 0...bytes.count, using: &generator)
            let end = min(bytes.count, start + Int.random(in: 0...500, using: &generator))
            _ = try stream.insert(
                ByteBuffer(bytes: bytes[start..<end]),
                at: UInt64(start),
                isFinal: end == bytes.count
            )
            while let data = stream.next() { output += Array(data.readableBytesView) }
            isFinished = stream.takeEnd()
        }
        #expect(output == bytes)
        let again = stream.takeEnd()
        #expect(!again)
    }

    @Test("entries of an earlier run take any free place")
    func restoredReplayTable() {
        var table = ReplayTable(capacity: ReplayTable.Capacity(near: 8, far: 2))
        let now: Int64 = 1_800_000_000
        // The clock is behind, so all of them seem to be dated ahead.
        for number in UInt8(0)..<10 {
            table.restore(
                .sha256(of: [number]),
                expiration: ReplayTable.expiration(createdAt: now + 600, now: now + 600),
                now: now
            )
        }
        #expect(table.count == 10)
        for number in UInt8(0)..<10 {
            let isNew = table.insert(.sha256(of: [number]), expiration: now + 900, now: now + 600)
            #expect(!isNew)
        }
    }

    @Test("a CONNECT is accepted once, and a full replay table rejects new ones")
    func replayTable() {
        var table = ReplayTable(capacity: .init(near: 2, far: 1))
        let now: Int64 = 1_000
        let expiration = ReplayTable.expiration(createdAt: now, now: now)
        #expect(expiration == now + 180)
        // An event dated in the future is remembered for longer.
        #expect(ReplayTable.expiration(createdAt: now + 900, now: now) == now + 1_080)
        func insert(_ name: String, _ expiration: Int64, at time: Int64) -> Bool {
            table.insert(Self.replayEntry(name), expiration: expiration, now: time)
        }
        let answers = [
            insert("a", expiration, at: now), insert("a", expiration, at: now + 100), insert("b", expiration, at: now),
            insert("c", expiration, at: now),
        ]
        #expect(answers == [true, false, true, false])
        #expect(table.isFull)
        // CONNECTs dated far ahead have a separate limit.
        let far = [insert("d", now + 1_080, at: now), insert("e", now + 1_080, at: now)]
        #expect(far == [true, false])
        let later = insert("c", expiration + 200, at: now + 181)
        #expect(later)
        #expect(table.count == 2)
    }

    @Test("entries that have expired are rejected again until their room is needed")
    func clockAhead() {
        var table = ReplayTable(capacity: .init(near: 8, far: 1))
        let now: Int64 = 1_000
        func insert(_ name: String, at time: Int64) -> Bool {
            table.insert(
                Self.replayEntry(name),
                expiration: ReplayTable.expiration(createdAt: time, now: time),
                now: time
            )
        }
        for number in 0..<8 {
            let isInserted = insert("\(number)", at: now + Int64(number))
            #expect(isInserted)
        }
        // The clock is an hour ahead while an entry is inserted, which removes the oldest entries.
        let ahead = insert("ahead", at: now + 3_600)
        #expect(ahead)
        let again = (0..<8).map { insert("\($0)", at: now + 10) }
        #expect(again.filter { $0 } == [true, true])
        #expect(again.suffix(5) == [false, false, false, false, false])
    }

    private static func replayEntry(_ name: String) -> ReplayTable.Entry {
        ReplayTable.entry(client: PublicKey(unchecked: Bytes32.sha256(of: [1])), key: name)
    }
}
