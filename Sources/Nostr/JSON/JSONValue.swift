//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A JSON value as a tree, for small texts such as filters, relay information and NIP-74 messages.
///
/// Strings are kept as bytes, because Swift compares strings by canonical equivalence and Nostr compares them by bytes.
package enum JSONValue: Hashable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number without fraction and exponent that fits in 64 bits.
    case integer(Int64)
    /// The text of any other number.
    case number([UInt8])
    /// A string as UTF-8, with escapes decoded.
    case string([UInt8])
    /// An array.
    case array([JSONValue])
    /// An object: its members in the order of the text. Keys are unique.
    case object([Member])

    /// A member of an object.
    package struct Member: Hashable, Sendable {
        /// The key as UTF-8, with escapes decoded.
        package let key: [UInt8]
        /// The value.
        package let value: JSONValue
    }

    /// Parses a JSON text.
    ///
    /// - Throws: ``JSONError``, also if anything but white space follows the value.
    package static func parse(_ buffer: ByteBuffer) throws(JSONError) -> JSONValue {
        var scanner = JSONScanner(buffer)
        let value = try Self.scan(&scanner, depth: 0)
        try scanner.expectEnd()
        return value
    }

    /// Scans a value. ``JSONScanner/maximumDepth`` limits the recursion.
    ///
    /// - Parameter depth: The number of arrays and objects around the value.
    static func scan(_ scanner: inout JSONScanner, depth: Int) throws(JSONError) -> JSONValue {
        guard depth <= JSONScanner.maximumDepth else { throw JSONError(.tooDeep, at: scanner.position) }
        switch try scanner.peek() {
        case UInt8(ascii: "{"): return try Self.scanObject(&scanner, depth: depth)
        case UInt8(ascii: "["): return try Self.scanArray(&scanner, depth: depth)
        case UInt8(ascii: "\""):
            let string = try scanner.scanString()
            return .string(scanner.bytes(of: string))
        case UInt8(ascii: "t"):
            try scanner.expectLiteral("true")
            return .bool(true)
        case UInt8(ascii: "f"):
            try scanner.expectLiteral("false")
            return .bool(false)
        case UInt8(ascii: "n"):
            try scanner.expectLiteral("null")
            return .null
        default:
            let range = try scanner.scanNumber()
            let text = Array(scanner.slice(range).readableBytesView)
            if let value = Int64(String(decoding: text, as: UTF8.self)) { return .integer(value) }
            return .number(text)
        }
    }

    private static func scanObject(_ scanner: inout JSONScanner, depth: Int) throws(JSONError) -> JSONValue {
        try scanner.expect(UInt8(ascii: "{"))
        if try scanner.take(UInt8(ascii: "}")) { return .object([]) }
        var members: [Member] = []
        var keys: Set<[UInt8]> = []
        repeat {
            let key = try scanner.scanString()
            let bytes = scanner.bytes(of: key)
            guard keys.insert(bytes).inserted else { throw JSONError(.duplicateKey, at: key.range.lowerBound) }
            try scanner.expect(UInt8(ascii: ":"))
            members.append(Member(key: bytes, value: try Self.scan(&scanner, depth: depth + 1)))
        } while try scanner.takeSeparator(or: UInt8(ascii: "}"))
        return .object(members)
    }

    private static func scanArray(_ scanner: inout JSONScanner, depth: Int) throws(JSONError) -> JSONValue {
        try scanner.expect(UInt8(ascii: "["))
        if try scanner.take(UInt8(ascii: "]")) { return .array([]) }
        var elements: [JSONValue] = []
        repeat {
            elements.append(try Self.scan(&scanner, depth: depth + 1))
        } while try scanner.takeSeparator(or: UInt8(ascii: "]"))
        return .array(elements)
    }

    /// The value of the member `key`; nil if this is not an object or has no such member.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.elementsEqual(key.utf8) }?.value
    }

    /// The UTF-8 bytes if this is a string, otherwise nil.
    package var stringBytes: [UInt8]? {
        if case .string(let bytes) = self { bytes } else { nil }
    }

    /// The text if this is a string, otherwise nil.
    package var text: String? {
        self.stringBytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// The value if this is an ``integer(_:)``, otherwise nil.
    package var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// The value if this is a ``bool(_:)``, otherwise nil.
    package var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements if this is an array, otherwise nil.
    package var elements: [JSONValue]? {
        if case .array(let values) = self { values } else { nil }
    }
}
