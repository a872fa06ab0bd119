//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Reads the HTTP requests of a connection one at a time, and buffers the bytes after them. It performs no I/O.
package struct HTTPRequestReader {
    private var unread = ByteBuffer()
    private var head = HTTPHeadReader()
    private var body: HTTPBodyReader?

    package init() {}

    /// Whether bytes were received that have not been returned yet, including an incomplete head. Empty lines do not
    /// count.
    package var hasUnread: Bool {
        self.head.hasBegun || self.unread.readableBytesView.contains { !HTTPHeadReader.isLineEnd($0) }
    }

    /// Whether the whole body of the current request has been returned. True if the request has no body.
    package var isBodyComplete: Bool { self.body?.isComplete ?? true }

    package mutating func append(_ bytes: ByteBuffer) {
        if self.unread.readableBytes == 0 { self.unread = bytes } else { self.unread.writeImmutableBuffer(bytes) }
    }

    /// Returns the head of the next request; nil if it is incomplete. The body of the previous request must have been
    /// read completely.
    package mutating func readHead() throws(HTTPHead.Malformed) -> HTTPHead? {
        try self.head.read(&self.unread)
    }

    /// Starts reading the body of the request whose head was returned last.
    ///
    /// - Parameter length: How the body is delimited; nil if the request has no body.
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

    /// Removes and returns the bytes that have not been read. After CONNECT or an upgrade, they are not HTTP.
    package mutating func takeUnread() -> ByteBuffer {
        defer { self.unread = ByteBuffer() }
        return self.unread
    }
}
