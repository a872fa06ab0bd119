//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why bytes are not the JSON that was expected, and where.
public struct JSONError: Error, Hashable, Sendable {
    /// What was wrong.
    public enum Code: Hashable, Sendable {
        /// The bytes end inside a value.
        case unexpectedEnd
        /// A byte that cannot stand here (RFC 8259), raw control characters in strings included.
        case unexpectedByte
        /// An escape that JSON does not have, or half of a surrogate pair.
        case invalidEscape
        /// A string is not UTF-8.
        case invalidUTF8
        /// An integer was expected and the number has a fraction, an exponent, or does not fit.
        case invalidInteger
        /// Arrays and objects are nested deeper than ``JSONScanner/maximumDepth``.
        case tooDeep
        /// A key stands twice in one object; parsers disagree about which counts, so neither does.
        case duplicateKey
        /// Something follows the value.
        case trailingBytes
    }

    public let code: Code
    /// Offset in bytes.
    public let offset: Int

    @inline(never)
    init(_ code: Code, at offset: Int) {
        self.code = code
        self.offset = offset
    }
}

extension JSONError: CustomStringConvertible {
    public var description: String {
        let what =
            switch self.code {
            case .unexpectedEnd: "unexpected end"
            case .unexpectedByte: "unexpected character"
            case .invalidEscape: "invalid escape"
            case .invalidUTF8: "invalid UTF-8"
            case .invalidInteger: "not an integer in range"
            case .tooDeep: "nested too deeply"
            case .duplicateKey: "duplicate key"
            case .trailingBytes: "trailing characters"
            }
        return "\(what) at byte \(self.offset)"
    }
}
