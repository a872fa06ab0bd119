//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A text message, and what is known of its compressed form.
package struct WebSocketText: Sendable {
    /// Buffers whose concatenation is the text. It is UTF-8, which is not checked when it is sent.
    package var parts: [ByteBuffer]
    /// The compressed form of a part. It is used if the peer takes compressed messages.
    package var compressed: CompressedText?

    package init(_ parts: [ByteBuffer], compressed: CompressedText? = nil) {
        self.parts = parts
        self.compressed = compressed
    }

    /// Number of bytes of the text.
    package var length: Int { self.parts.reduce(0) { $0 + $1.readableBytes } }
}
