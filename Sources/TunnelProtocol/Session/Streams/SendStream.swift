//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The sending half of a stream (RFC 9000, section 3.1). It tracks unsent, lost and acknowledged bytes.
struct SendStream: Sendable {
    /// Bytes to be sent, for the first time or again.
    struct Chunk: Hashable, Sendable {
        var offset: UInt64
        var data: ByteBuffer
        var isFinal: Bool

        var end: UInt64 { self.offset + UInt64(self.data.readableBytes) }
    }

    /// Buffers smaller than this number of bytes are joined, so that small writes do not become small frames.
    private static let joinBelow = 2_048

    private var unsent: Deque<ByteBuffer> = []
    private(set) var unsentBytes = 0
    /// Lost chunks, by offset.
    private var lost: [Chunk] = []
    private var lostBytes = 0
    /// The offset after the last byte that was sent.
    private(set) var sentOffset: UInt64 = 0
    /// The maximum offset that the peer allows. ``sentOffset`` never exceeds it.
    var limit: UInt64
    private var acknowledged = IntervalSet()
    private(set) var isFinished = false
    private var finalWasSent = false
    private var finalIsLost = false
    private var finalWasAcknowledged = false

    init(limit: UInt64) {
        self.limit = limit
    }

    /// Whether all bytes and the end were acknowledged.
    var isComplete: Bool {
        self.finalWasAcknowledged && self.acknowledged.contains(0..<self.sentOffset)
    }

    /// Whether every byte that was given to ``append(_:)`` was acknowledged.
    var isDelivered: Bool {
        self.unsentBytes == 0 && (self.sentOffset == 0 || self.acknowledged.contains(0..<self.sentOffset))
    }

    /// Bytes to be sent, for the first time or again.
    var waitingBytes: Int { self.unsentBytes + self.lostBytes }

    /// Whether lost bytes or a lost end must be sent again.
    var hasLost: Bool { !self.lost.isEmpty || self.finalIsLost }

    /// Number of new bytes that the stream's limit allows to send. The session's limit is not considered.
    var allowance: Int {
        Int(min(UInt64(self.unsentBytes), self.room))
    }

    /// Number of bytes that the peer allows beyond those that were sent.
    var room: UInt64 { self.limit > self.sentOffset ? self.limit - self.sentOffset : 0 }

    /// Whether the end was not sent yet and no unsent bytes precede it.
    var hasUnsentEnd: Bool { self.isFinished && !self.finalWasSent && self.unsentBytes == 0 }

    /// Queues bytes. Returns false if there are none or the stream is finished.
    mutating func append(_ data: ByteBuffer) -> Bool {
        guard data.readableBytes > 0, !self.isFinished else { return false }
        self.unsentBytes += data.readableBytes
        self.unsent.append(data)
        return true
    }

    mutating func finish() { self.isFinished = true }

    /// Drops all bytes, because the stream is reset.
    mutating func discard() {
        self.unsent = []
        self.unsentBytes = 0
        self.lost = []
        self.lostBytes = 0
        self.finalIsLost = false
        self.isFinished = true
        self.finalWasSent = true
    }

    // MARK: Sending

    /// Returns the next chunk of at most `limit` bytes: lost bytes first, then at most `allowance` new bytes.
    mutating func next(limit: Int, allowance: Int) -> Chunk? {
        guard limit > 0 else { return nil }
        if let chunk = self.nextLost(limit: limit) { return chunk }
        return self.nextNew(limit: min(limit, allowance, self.allowance))
    }

    private mutating func nextLost(limit: Int) -> Chunk? {
        while var chunk = self.lost.first {
            guard chunk.data.readableBytes > 0, !self.acknowledged.contains(chunk.offset..<chunk.end) else {
                self.lost.removeFirst()
                self.lostBytes -= chunk.data.readableBytes
                continue
            }
            if chunk.data.readableBytes > limit, let part = chunk.data.readSlice(length: limit) {
                let offset = chunk.offset
                chunk.offset += UInt64(limit)
                self.lost[0] = chunk
                self.lostBytes -= limit
                return Chunk(offset: offset, data: part, isFinal: false)
            }
            self.lost.removeFirst()
            self.lostBytes -= chunk.data.readableBytes
            chunk.isFinal = self.isFinished && self.finalWasSent && chunk.end == self.sentOffset
            if chunk.isFinal { self.finalIsLost = false }
            return chunk
        }
        guard self.finalIsLost else { return nil }
        self.finalIsLost = false
        return Chunk(offset: self.sentOffset, data: ByteBuffer(), isFinal: true)
    }

    private mutating func nextNew(limit: Int) -> Chunk? {
        if self.hasUnsentEnd {
            self.finalWasSent = true
            return Chunk(offset: self.sentOffset, data: ByteBuffer(), isFinal: true)
        }
        guard limit > 0, var data = self.unsent.popFirst() else { return nil }
        if data.readableBytes > limit, let part = data.readSlice(length: limit) {
            self.unsent.prepend(data)
            data = part
        } else {
            while data.readableBytes < Self.joinBelow, var next = self.unsent.first,
                data.readableBytes + next.readableBytes <= limit
            {
                self.unsent.removeFirst()
                data.writeBuffer(&next)
            }
        }
        let offset = self.sentOffset
        self.unsentBytes -= data.readableBytes
        self.sentOffset += UInt64(data.readableBytes)
        let isFinal = self.hasUnsentEnd
        if isFinal { self.finalWasSent = true }
        return Chunk(offset: offset, data: data, isFinal: isFinal)
    }

    /// Records that the first `count` bytes of the stream reached the peer outside of session packets. Returns false if that
    /// cannot be, because bytes were sent already or the peer allows fewer.
    mutating func assumeSent(_ count: Int) -> Bool {
        guard self.sentOffset == 0, self.unsentBytes == 0, count > 0, UInt64(count) <= self.limit else { return false }
        self.sentOffset = UInt64(count)
        self.acknowledged.insert(0..<UInt64(count))
        return true
    }

    // MARK: Acknowledgements and losses

    /// Records that the packet with this chunk was declared lost.
    mutating func lost(_ chunk: Chunk) {
        if chunk.isFinal, !self.finalWasAcknowledged { self.finalIsLost = true }
        guard chunk.data.readableBytes > 0, !self.acknowledged.contains(chunk.offset..<chunk.end) else { return }
        var chunk = chunk
        chunk.isFinal = false
        // Losses are detected oldest first, so the chunk nearly always belongs at the end.
        var index = self.lost.count
        while index > 0, self.lost[index - 1].offset > chunk.offset { index -= 1 }
        self.lost.insert(chunk, at: index)
        self.lostBytes += chunk.data.readableBytes
    }

    /// Records that the packet with these bytes was acknowledged.
    mutating func acknowledged(_ range: Range<UInt64>, isFinal: Bool) {
        self.acknowledged.insert(range)
        if isFinal {
            self.finalWasAcknowledged = true
            self.finalIsLost = false
        }
    }
}
