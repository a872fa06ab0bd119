//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The start line and the fields of an HTTP/1 message (RFC 9112, sections 2 to 5).
package struct HTTPHead: Equatable {
    /// One field, as it was received.
    package struct Field: Equatable {
        /// The name in the case that its sender chose. ASCII.
        package let name: String
        /// The value without the white space around it. Not always UTF-8.
        package let value: [UInt8]

        /// The value as text. Bytes that are not UTF-8 are replaced.
        package var text: String { String(decoding: self.value, as: UTF8.self) }
    }

    /// Why bytes are not a message that can be passed on.
    package enum Malformed: Error, Equatable {
        case startLine
        case field
        /// A line ends with LF alone.
        case lineEnding
        /// Larger than ``HTTPHeadReader/maximumLength``, or more fields than ``HTTPHeadReader/maximumFields``.
        case tooLarge
        /// The fields that tell the length of the body contradict each other, or are not numbers.
        case framing
        /// A transfer coding other than `chunked`.
        case transferCoding
        /// The body does not follow the chunked coding.
        case chunk
    }

    /// The request line or the status line, without its line ending.
    package let startLine: [UInt8]
    package let fields: [Field]

    package init(startLine: [UInt8], fields: [Field]) {
        self.startLine = startLine
        self.fields = fields
    }

    /// The fields of a name, in any case.
    package func fields(named name: String) -> [Field] {
        self.fields.filter { $0.name.lowercased() == name }
    }

    /// The members of a list-based field in lower case (RFC 9110, section 5.6.1).
    package func list(_ name: String) -> [String] {
        self.fields(named: name).flatMap { field in
            field.text.lowercased().split(separator: ",").compactMap { member in
                let member = member.drop { " \t".contains($0) }
                let end = member.lastIndex { !" \t".contains($0) }
                return end.map { String(member[...$0]) }
            }
        }
    }

    /// How the body is delimited; nil if no field tells.
    ///
    /// Whatever two implementations might read in different ways is an error: that is how requests are smuggled.
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
    /// Until the connection ends.
    case untilClose
}
