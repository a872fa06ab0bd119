//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A JSON parsing error with its position.
package struct JSONError: Error, Hashable, Sendable {
    /// The kind of error.
    package enum Code: Hashable, Sendable {
        /// The text ends where more was expected.
        case unexpectedEnd
        /// A byte is not allowed at this position (RFC 8259), such as a raw control character in a string; or the value
        /// is of another type than expected.
        case unexpectedByte
        /// A string contains an unknown escape or half of a surrogate pair.
        case invalidEscape
        /// A string is not valid UTF-8.
        case invalidUTF8
        /// An integer was expected, but the number has a fraction or an exponent, or does not fit in 64 bits.
        case invalidInteger
        /// Arrays and objects are nested deeper than ``JSONScanner/maximumDepth``.
        case tooDeep
        /// A key occurs twice in an object. It is an error because parsers disagree about which value applies.
        case duplicateKey
        /// Something follows the value.
        case trailingBytes
    }

    /// The kind of error.
    package let code: Code
    /// The position of the error: the offset in bytes from the start of the text.
    package let offset: Int

    @inline(never)
    init(_ code: Code, at offset: Int) {
        self.code = code
        self.offset = offset
    }
}

extension JSONError: CustomStringConvertible {
    package var description: String {
        let what =
            switch self.code {
            case .unexpectedEnd: "unexpected end of text"
            case .unexpectedByte: "unexpected character"
            case .invalidEscape: "invalid escape"
            case .invalidUTF8: "invalid UTF-8"
            case .invalidInteger: "number is not a 64-bit integer"
            case .tooDeep: "nested too deeply"
            case .duplicateKey: "duplicate key"
            case .trailingBytes: "trailing characters"
            }
        return "\(what) at byte \(self.offset)"
    }
}
