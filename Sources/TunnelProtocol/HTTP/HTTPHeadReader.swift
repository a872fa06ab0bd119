//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Reads the head of an HTTP/1 message from the bytes of a connection. It performs no I/O.
///
/// It accepts less than RFC 9112 permits: lines must end with CR LF, and fields must not be folded. A more lenient
/// reader could find one message where the next program finds two.
package struct HTTPHeadReader {
    /// Maximum length of a head in bytes.
    package static let maximumLength = 128 << 10
    /// Maximum number of fields of a head.
    package static let maximumFields = 256

    private var line: [UInt8] = []
    private var length = 0
    private var startLine: [UInt8]?
    private var fields: [HTTPHead.Field] = []

    package init() {}

    /// Whether part of a head has been read. Empty lines before the head do not count.
    package var hasBegun: Bool { self.startLine != nil || self.line.contains { !HTTPHeadReader.isLineEnd($0) } }

    package static func isLineEnd(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\n") }

    /// Consumes bytes up to the end of the head. Returns nil if the head is not complete.
    package mutating func read(_ bytes: inout ByteBuffer) throws(HTTPHead.Malformed) -> HTTPHead? {
        while bytes.readableBytes > 0 {
            let view = bytes.readableBytesView
            let end = view.firstIndex(of: UInt8(ascii: "\n"))
            let count = end.map { $0 - view.startIndex + 1 } ?? view.count
            self.length += count
            guard self.length <= Self.maximumLength else { throw .tooLarge }
            self.line += view.prefix(count)
            bytes.moveReaderIndex(forwardBy: count)
            if end != nil, let head = try self.endLine() { return head }
        }
        return nil
    }

    private mutating func endLine() throws(HTTPHead.Malformed) -> HTTPHead? {
        guard self.line.count >= 2, self.line[self.line.count - 2] == UInt8(ascii: "\r") else { throw .lineEnding }
        let line = self.line.dropLast(2)
        self.line.removeAll(keepingCapacity: true)
        guard let startLine = self.startLine else {
            // Empty lines before a message are ignored (RFC 9112, section 2.2).
            if line.isEmpty { return nil }
            guard line.allSatisfy({ $0 >= 0x20 && $0 != 0x7f }) else { throw .startLine }
            self.startLine = Array(line)
            return nil
        }
        guard line.isEmpty else {
            guard self.fields.count < Self.maximumFields else { throw .tooLarge }
            guard let field = HTTPHead.Field(line: line) else { throw .field }
            self.fields.append(field)
            return nil
        }
        defer { self = HTTPHeadReader() }
        return HTTPHead(startLine: startLine, fields: self.fields)
    }
}

extension HTTPHead.Field {
    /// The characters that a token may contain (RFC 9110, section 5.6.2).
    private static let token = Set(
        "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8
    )

    package static func isToken(_ bytes: some Collection<UInt8>) -> Bool {
        !bytes.isEmpty && bytes.allSatisfy(Self.token.contains)
    }

    /// Parses a field line. Returns nil if it is malformed.
    ///
    /// - Parameter line: The line without its line ending.
    package init?(line: ArraySlice<UInt8>) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), Self.isToken(line[..<colon]) else { return nil }
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 }
        var value = line[(colon + 1)...].drop(while: isSpace)
        while let last = value.last, isSpace(last) { value.removeLast() }
        guard value.allSatisfy({ $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 }) else { return nil }
        self.init(name: String(decoding: line[..<colon], as: UTF8.self), value: Array(value))
    }
}
