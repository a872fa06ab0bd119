//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The start line and the header fields of an HTTP/1 message (RFC 9112, sections 2 to 5).
package struct HTTPHead: Equatable {
    /// A header field as it was received.
    package struct Field: Equatable {
        /// The name in ASCII, with upper and lower case as received.
        package let name: String
        /// The value without leading and trailing white space. It may be invalid UTF-8.
        package let value: [UInt8]

        /// The value as text. Invalid UTF-8 is replaced with U+FFFD.
        package var text: String { String(decoding: self.value, as: UTF8.self) }
    }

    /// The reason why bytes are not a message that the proxy can forward.
    package enum Malformed: Error, Equatable {
        case startLine
        case field
        /// A line ends with LF instead of CR LF.
        case lineEnding
        /// The head is longer than ``HTTPHeadReader/maximumLength``, or has more fields than
        /// ``HTTPHeadReader/maximumFields``.
        case tooLarge
        /// The length of the body is invalid or ambiguous. `Content-Length` is repeated or not a number of at
        /// most 18 digits, or `Transfer-Encoding` is combined with `Content-Length` or HTTP/1.0.
        case framing
        /// `Transfer-Encoding` is not `chunked`.
        case transferCoding
        /// The chunked coding of the body is invalid, or exceeds a limit of ``HTTPBodyReader``.
        case chunk
    }

    /// The request line or the status line, without its line ending.
    package let startLine: [UInt8]
    package let fields: [Field]

    package init(startLine: [UInt8], fields: [Field]) {
        self.startLine = startLine
        self.fields = fields
    }

    /// Returns the fields with this name. Pass it in lower case; the case of the received names is ignored.
    package func fields(named name: String) -> [Field] {
        self.fields.filter { $0.name.lowercased() == name }
    }

    /// Returns the members of a list-based field in lower case (RFC 9110, section 5.6.1). Pass the name in lower case.
    package func list(_ name: String) -> [String] {
        self.fields(named: name).flatMap { field in
            field.text.lowercased().split(separator: ",").compactMap { member in
                let member = member.drop { " \t".contains($0) }
                let end = member.lastIndex { !" \t".contains($0) }
                return end.map { String(member[...$0]) }
            }
        }
    }

    /// Returns how the body is delimited; nil if there is neither `Content-Length` nor `Transfer-Encoding`.
    ///
    /// Anything that two implementations could interpret differently is an error, because it would allow request
    /// smuggling (RFC 9112, section 11.2).
    ///
    /// - Parameter allowsChunked: False for HTTP/1.0, which has no transfer codings.
    package func bodyLength(allowsChunked: Bool) throws(Malformed) -> HTTPBodyLength? {
        let lengths = self.fields(named: "content-length")
        let codings = self.list("transfer-encoding")
        guard codings.isEmpty else {
            guard codings == ["chunked"] else { throw .transferCoding }
            guard allowsChunked, lengths.isEmpty else { throw .framing }
            return .chunked
        }
        guard let first = lengths.first else { return nil }
        let digits = first.value
        guard lengths.count == 1, (1...18).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) })
        else { throw .framing }
        return .fixed(digits.reduce(0) { $0 * 10 + UInt64($1 - 0x30) })
    }
}

/// How the body of a message is delimited (RFC 9112, section 6.3).
package enum HTTPBodyLength: Equatable {
    case fixed(UInt64)
    case chunked
    /// The body continues until the connection closes.
    case untilClose
}
