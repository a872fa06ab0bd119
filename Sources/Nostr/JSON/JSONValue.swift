//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// Any JSON value, for messages small enough that a tree does not matter: filters, relay information, NIP-74 messages.
///
/// Strings are kept as bytes: Swift compares strings by canonical equivalence, and Nostr compares bytes.
public enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    /// A number with a fraction or exponent, or one that does not fit; its text.
    case number([UInt8])
    case string([UInt8])
    case array([JSONValue])
    case object([Member])

    /// A key and its value, in the order of the text.
    public struct Member: Hashable, Sendable {
        public let key: [UInt8]
        public let value: JSONValue
    }

    /// Parses one value with nothing behind it.
    public static func parse(_ buffer: ByteBuffer) throws(JSONError) -> JSONValue {
        var scanner = JSONScanner(buffer)
        let value = try Self.scan(&scanner, depth: 0)
        try scanner.expectEnd()
        return value
    }

    /// Scans one value. Recursion is bounded by ``JSONScanner/maximumDepth``.
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

    /// The member `key` of an object; nil for other values and absent keys.
    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key.elementsEqual(key.utf8) }?.value
    }

    /// The bytes of a string.
    public var stringBytes: [UInt8]? {
        if case .string(let bytes) = self { bytes } else { nil }
    }

    /// A string, as text.
    public var text: String? {
        self.stringBytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// An integer.
    public var integer: Int64? {
        if case .integer(let value) = self { value } else { nil }
    }

    /// A truth value.
    public var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements of an array.
    public var elements: [JSONValue]? {
        if case .array(let values) = self { values } else { nil }
    }
}
