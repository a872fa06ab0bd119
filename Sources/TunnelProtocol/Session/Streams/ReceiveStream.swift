//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The receiving half of a stream (RFC 9000, section 3.2). It puts data in order and grants credit as data is consumed.
struct ReceiveStream: Sendable {
    /// A violation of the protocol by the peer.
    enum Violation: Error, Hashable, Sendable {
        /// The peer sent more data than it had credit for.
        case flowControl
        /// The peer sent data beyond the final size, or changed the final size.
        case finalSize
        /// More than ``maximumChunks`` chunks are buffered.
        case tooManyGaps
    }

    private struct Chunk: Sendable {
        var offset: UInt64
        var data: ByteBuffer
        var end: UInt64 { self.offset + UInt64(self.data.readableBytes) }
    }

    /// Maximum number of chunks that are buffered.
    private static let maximumChunks = 4_096
    /// Adjacent chunks are joined up to this length in bytes.
    private static let joinedLength = 8_192

    /// Received chunks that were not delivered, ordered by offset, without overlap.
    private var early: [Chunk] = []
    /// The offset of the next byte to deliver.
    private(set) var nextOffset: UInt64 = 0
    /// The offset after the highest byte received.
    private(set) var highest: UInt64 = 0
    /// Number of bytes that were delivered and that the driver has passed on.
    private(set) var consumed: UInt64 = 0
    /// The limit that was granted to the peer, as an absolute offset.
    private(set) var limit: UInt64
    /// The receive window in bytes: the distance from ``consumed`` up to which credit is granted.
    private(set) var window: Int
    private(set) var finalSize: UInt64?
    /// Whether all data up to the final size was delivered.
    private(set) var isComplete = false

    init(window: Int) {
        self.window = window
        self.limit = UInt64(window)
    }

    /// Number of bytes from ``consumed`` to ``highest``, including gaps.
    var heldBytes: UInt64 { self.highest - self.consumed }

    /// Memory that the stream uses, in bytes: buffered chunks with their overhead, and delivered bytes that were not
    /// consumed.
    var memory: Int {
        self.early.reduce(Int(clamping: self.nextOffset - self.consumed)) {
            $0 + $1.data.readableBytes + Self.chunkOverhead
        }
    }

    /// Estimated memory overhead of a chunk in bytes.
    private static let chunkOverhead = 128

    /// Buffers received data. Returns by how many bytes ``highest`` increased.
    mutating func insert(_ data: ByteBuffer, at offset: UInt64, isFinal: Bool) throws(Violation) -> UInt64 {
        let end = offset + UInt64(data.readableBytes)
        guard end <= self.limit else { throw .flowControl }
        if let finalSize {
            guard end <= finalSize, !isFinal || end == finalSize else { throw .finalSize }
        } else if isFinal {
            guard end >= self.highest else { throw .finalSize }
            self.finalSize = end
        }
        let grown = end > self.highest ? end - self.highest : 0
        self.highest += grown
        if data.readableBytes > 0 { self.place(Chunk(offset: offset, data: data)) }
        guard self.early.count <= Self.maximumChunks else { throw .tooManyGaps }
        return grown
    }

    /// Handles a reset with the final size `size`. Returns by how many bytes ``highest`` increased.
    mutating func reset(at size: UInt64) throws(Violation) -> UInt64 {
        guard size >= self.highest, size <= self.limit, self.finalSize == nil || self.finalSize == size else {
            throw .finalSize
        }
        let grown = size - self.highest
        self.highest = size
        self.finalSize = size
        self.early = []
        return grown
    }

    /// Inserts the parts of a chunk that were not received before.
    private mutating func place(_ chunk: Chunk) {
        var chunk = chunk
        if chunk.offset < self.nextOffset {
            let known = min(chunk.end, self.nextOffset) - chunk.offset
            chunk.data.moveReaderIndex(forwardBy: Int(known))
            chunk.offset += known
        }
        guard chunk.data.readableBytes > 0 else { return }
        // Find the first chunk that ends after the start of the new one.
        var (low, high) = (0, self.early.count)
        while low < high {
            let middle = (low + high) / 2
            if self.early[middle].end <= chunk.offset { low = middle + 1 } else { high = middle }
        }
        var index = low
        while chunk.data.readableBytes > 0 {
            guard index < self.early.count, self.early[index].offset < chunk.end else {
                self.insert(chunk, at: index)
                return
            }
            let known = self.early[index]
            if chunk.offset < known.offset {
                var part = chunk
                part.data = chunk.data.readSlice(length: Int(known.offset - chunk.offset)) ?? ByteBuffer()
                chunk.offset = known.offset
                self.early.insert(part, at: index)
                index += 1
            }
            let overlap = min(chunk.end, known.end) - chunk.offset
            chunk.data.moveReaderIndex(forwardBy: Int(overlap))
            chunk.offset += overlap
            index += 1
        }
    }

    /// Inserts a chunk. A small chunk is appended to the one before it, so that many small messages do not use many
    /// chunks.
    private mutating func insert(_ chunk: Chunk, at index: Int) {
        if index > 0, self.early[index - 1].end == chunk.offset,
            self.early[index - 1].data.readableBytes + chunk.data.readableBytes <= Self.joinedLength
        {
            self.early[index - 1].data.writeImmutableBuffer(chunk.data)
        } else {
            self.early.insert(chunk, at: index)
        }
    }

    /// Removes and returns the next data in order; nil if it has not arrived.
    mutating func next() -> ByteBuffer? {
        guard let first = self.early.first, first.offset == self.nextOffset else { return nil }
        self.early.removeFirst()
        self.nextOffset = first.end
        return first.data
    }

    /// Returns whether all data has been delivered. Returns true only once.
    mutating func takeEnd() -> Bool {
        guard !self.isComplete, let finalSize, finalSize == self.nextOffset else { return false }
        self.isComplete = true
        return true
    }

    // MARK: Credit

    /// Records that the driver has passed on delivered bytes.
    mutating func consume(_ bytes: Int) {
        self.consumed = min(self.nextOffset, self.consumed + UInt64(max(0, bytes)))
    }

    /// Marks all data as consumed because the stream ended. Returns the number of bytes that were not consumed before.
    mutating func consumeAll() -> UInt64 {
        let held = self.heldBytes
        self.nextOffset = self.highest
        self.consumed = self.highest
        self.early = []
        return held
    }

    /// Whether to send new credit: at least half of the window has been consumed since credit was last granted.
    var wantsCredit: Bool {
        guard self.finalSize == nil else { return false }
        return self.consumed + UInt64(self.window) >= self.limit + UInt64(self.window / 2)
    }

    /// Grants credit up to the full window. Returns the new limit.
    mutating func renewCredit() -> UInt64 {
        self.limit = max(self.limit, self.consumed + UInt64(self.window))
        return self.limit
    }

    mutating func widen(to window: Int) { self.window = max(self.window, window) }
}
