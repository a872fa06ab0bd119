//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The compressed form of a part of a text message: base64 characters, six bits each.
///
/// It is one block of DEFLATE that refers to nothing outside of it, so a relay passes it on in another message.
package struct CompressedText: Sendable {
    /// The block, and the first bits of the stored block that follows it.
    let block: ByteBuffer
    /// The place of its characters in the message, in bytes from the start.
    package private(set) var range: Range<Int>

    init(block: ByteBuffer, range: Range<Int>) {
        self.block = block
        self.range = range
    }

    /// The same part of a message that has `distance` more bytes before it. Nil if it would start before the message.
    package func moved(by distance: Int) -> CompressedText? {
        guard self.range.lowerBound + distance >= 0 else { return nil }
        var moved = self
        moved.range = (self.range.lowerBound + distance)..<(self.range.upperBound + distance)
        return moved
    }

    /// The same part, which does not keep much larger memory alive than its own.
    package var withoutLargerStorage: CompressedText {
        guard self.block.readableBytes * 2 < self.block.storageCapacity else { return self }
        return CompressedText(block: ByteBuffer(bytes: self.block.readableBytesView), range: self.range)
    }
}
