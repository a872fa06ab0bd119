//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Reads the requests of a connection one after another, and keeps what follows. It performs no I/O.
package struct HTTPRequestReader {
    private var unread = ByteBuffer()
    private var head = HTTPHeadReader()
    private var body: HTTPBodyReader?

    package init() {}

    /// Whether bytes came that are not a part of a request that was read. Empty lines do not count.
    package var hasUnread: Bool {
        self.head.hasBegun || self.unread.readableBytesView.contains { !HTTPHeadReader.isLineEnd($0) }
    }

    /// Whether the body of the last request was read to its end.
    package var isBodyComplete: Bool { self.body?.isComplete ?? true }

    package mutating func append(_ bytes: ByteBuffer) {
        if self.unread.readableBytes == 0 { self.unread = bytes } else { self.unread.writeImmutableBuffer(bytes) }
    }

    /// Returns the head of the next request; nil if it is not complete. The body of the last one must be.
    package mutating func readHead() throws(HTTPHead.Malformed) -> HTTPHead? {
        try self.head.read(&self.unread)
    }

    /// Begins the body of the request whose head was read.
    ///
    /// - Parameter length: Nil if there is no body.
    package mutating func beginBody(_ length: HTTPBodyLength?) {
        self.body = length.map { HTTPBodyReader($0) }
    }

    /// Returns the received bytes of the body, unchanged, or nil if there are none.
    package mutating func readBody() throws(HTTPHead.Malformed) -> ByteBuffer? {
        guard self.unread.readableBytes > 0, var body = self.body, !body.isComplete else { return nil }
        let count = try body.read(self.unread)
        self.body = body
        return self.unread.readSlice(length: count)
    }

    /// Takes everything that follows: it is not HTTP.
    package mutating func takeUnread() -> ByteBuffer {
        defer { self.unread = ByteBuffer() }
        return self.unread
    }
}
