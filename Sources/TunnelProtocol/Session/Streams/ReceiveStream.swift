//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The receiving half of a stream (RFC 9000, section 3.2): puts bytes in order and grants credit as they are consumed.
struct ReceiveStream: Sendable {
    /// What a peer that keeps the protocol never does.
    enum Violation: Error, Hashable, Sendable {
        /// Bytes beyond the credit.
        case flowControl
        /// Bytes behind the end, or two ends.
        case finalSize
        /// More gaps than any relay makes.
        case tooManyGaps
    }

    private struct Chunk: Sendable {
        var offset: UInt64
        var data: ByteBuffer
        var end: UInt64 { self.offset + UInt64(self.data.readableBytes) }
    }

    /// Most runs of bytes with gaps between them.
    private static let maximumChunks = 4_096
    /// Bytes up to which neighbours are joined.
    private static let joinedLength = 8_192

    /// Bytes that came ahead of their turn, by offset, without overlap.
    private var early: [Chunk] = []
    /// The next byte to hand over.
    private(set) var nextOffset: UInt64 = 0
    /// The offset behind the last byte that came.
    private(set) var highest: UInt64 = 0
    /// Bytes that were handed over and went on.
    private(set) var consumed: UInt64 = 0
    /// Credit given so far.
    private(set) var limit: UInt64
    /// How far ahead of what was consumed credit reaches.
    private(set) var window: Int
    private(set) var finalSize: UInt64?
    /// Whether everything up to the end was handed over.
    private(set) var isComplete = false

    init(window: Int) {
        self.window = window
        self.limit = UInt64(window)
    }

    /// Bytes held here: those that wait for others, and those that whoever reads has not taken.
    var heldBytes: UInt64 { self.highest - self.consumed }

    /// Bytes of memory that it takes: those that are here, in whatever pieces, and those that whoever reads has.
    var memory: Int {
        self.early.reduce(Int(clamping: self.nextOffset - self.consumed)) {
            $0 + $1.data.readableBytes + Self.chunkOverhead
        }
    }

    /// What a piece takes beside its bytes.
    private static let chunkOverhead = 128

    /// Takes bytes. Returns how many of them raise ``highest``.
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

    /// The peer reset the stream at `size`. Returns how many bytes that adds to ``highest``.
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

    /// Puts a chunk where it belongs, without what is there already.
    private mutating func place(_ chunk: Chunk) {
        var chunk = chunk
        if chunk.offset < self.nextOffset {
            let known = min(chunk.end, self.nextOffset) - chunk.offset
            chunk.data.moveReaderIndex(forwardBy: Int(known))
            chunk.offset += known
        }
        guard chunk.data.readableBytes > 0 else { return }
        // The first that ends behind the new one's start.
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

    /// Enters a chunk, or joins a small one to the one before: many small messages are no many chunks.
    private mutating func insert(_ chunk: Chunk, at index: Int) {
        if index > 0, self.early[index - 1].end == chunk.offset,
            self.early[index - 1].data.readableBytes + chunk.data.readableBytes <= Self.joinedLength
        {
            self.early[index - 1].data.writeImmutableBuffer(chunk.data)
        } else {
            self.early.insert(chunk, at: index)
        }
    }

    /// The next bytes in order, if they are there.
    mutating func next() -> ByteBuffer? {
        guard let first = self.early.first, first.offset == self.nextOffset else { return nil }
        self.early.removeFirst()
        self.nextOffset = first.end
        return first.data
    }

    /// Whether the end was reached just now; true once.
    mutating func takeEnd() -> Bool {
        guard !self.isComplete, let finalSize, finalSize == self.nextOffset else { return false }
        self.isComplete = true
        return true
    }

    // MARK: Credit

    /// Bytes went on to whoever reads.
    mutating func consume(_ bytes: Int) {
        self.consumed = min(self.nextOffset, self.consumed + UInt64(max(0, bytes)))
    }

    /// All bytes count as consumed: the stream is over.
    mutating func consumeAll() -> UInt64 {
        let held = self.heldBytes
        self.nextOffset = self.highest
        self.consumed = self.highest
        self.early = []
        return held
    }

    /// Whether new credit is worth a frame: half of the window was consumed.
    var wantsCredit: Bool {
        guard self.finalSize == nil else { return false }
        return self.consumed + UInt64(self.window) >= self.limit + UInt64(self.window / 2)
    }

    /// Gives credit again up to the window.
    mutating func renewCredit() -> UInt64 {
        self.limit = max(self.limit, self.consumed + UInt64(self.window))
        return self.limit
    }

    mutating func widen(to window: Int) { self.window = max(self.window, window) }
}
