//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Bytes that wait, in order. Small pieces are joined, because a buffer for each would take more memory than its bytes.
struct JoinedBuffers {
    private var buffers: [ByteBuffer] = []

    /// Pieces smaller than this number of bytes are joined.
    private static let smallPiece = 4_096
    /// Pieces are joined up to this number of bytes.
    private static let joinedLength = 64 << 10

    var isEmpty: Bool { self.buffers.isEmpty }

    mutating func append(_ data: ByteBuffer) {
        if let last = self.buffers.indices.last, data.readableBytes < Self.smallPiece,
            self.buffers[last].readableBytes < Self.joinedLength
        {
            self.buffers[last].writeImmutableBuffer(data)
        } else {
            self.buffers.append(data)
        }
    }

    /// Removes and returns all bytes.
    mutating func removeAll() -> [ByteBuffer] {
        defer { self.buffers = [] }
        return self.buffers
    }
}
