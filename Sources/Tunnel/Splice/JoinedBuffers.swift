//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// An ordered queue of buffers. It merges small buffers, because a separate buffer for a few bytes would use more
/// memory than its content.
struct JoinedBuffers {
    private var buffers: [ByteBuffer] = []

    /// Buffers smaller than this number of bytes are merged into the previous one.
    private static let smallPiece = 4_096
    /// No bytes are added to a buffer that has reached this number of bytes.
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

    /// Removes and returns all buffers.
    mutating func removeAll() -> [ByteBuffer] {
        defer { self.buffers = [] }
        return self.buffers
    }
}
