//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A queue of writes to a socket. It combines small buffers while a write is pending, to reduce the number of system calls.
/// It performs no I/O.
struct WriteQueue {
    /// Buffers smaller than this number of bytes are combined while a write is pending.
    private static let smallPiece = 4_096
    /// Number of combined bytes that are written without waiting for pending writes.
    private static let gatheredLength = 64 << 10

    private var gathered = ByteBuffer()
    /// Number of writes that the socket has not completed.
    private var pendingWrites = 0

    /// Whether all bytes are written.
    var isEmpty: Bool { self.pendingWrites == 0 && self.gathered.readableBytes == 0 }

    /// Adds bytes. Returns the buffers to write now, in order.
    mutating func append(_ data: ByteBuffer) -> [ByteBuffer] {
        guard self.pendingWrites > 0, data.readableBytes < Self.smallPiece else {
            let gathered = self.takeGathered()
            return self.begin([gathered, data].compactMap { $0 })
        }
        self.gathered.writeImmutableBuffer(data)
        guard self.gathered.readableBytes >= Self.gatheredLength, let gathered = self.takeGathered() else { return [] }
        return self.begin([gathered])
    }

    /// Records that a write has completed. Returns the buffer to write next, if any.
    mutating func completeWrite() -> ByteBuffer? {
        self.pendingWrites -= 1
        guard self.pendingWrites == 0, let gathered = self.takeGathered() else { return nil }
        return self.begin([gathered]).first
    }

    /// Drops the combined bytes that are not passed to the socket yet. Returns their number.
    mutating func discardGathered() -> Int { self.takeGathered()?.readableBytes ?? 0 }

    private mutating func begin(_ buffers: [ByteBuffer]) -> [ByteBuffer] {
        self.pendingWrites += buffers.count
        return buffers
    }

    private mutating func takeGathered() -> ByteBuffer? {
        guard self.gathered.readableBytes > 0 else { return nil }
        defer { self.gathered = ByteBuffer() }
        return self.gathered
    }
}
