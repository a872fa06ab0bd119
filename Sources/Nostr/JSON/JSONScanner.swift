//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CByteKernels
package import NIOCore

/// A strict, forward-only scanner for a JSON text (RFC 8259).
///
/// It is optimized for Nostr messages, which consist mainly of one long string: it scans strings many bytes at a time
/// and copies bytes only on request. It rejects everything that the grammar does not allow, including trailing commas,
/// raw control characters, lone surrogates and invalid UTF-8.
package struct JSONScanner: Sendable {
    /// Maximum nesting depth of arrays and objects.
    package static let maximumDepth = 16

    /// The text.
    package let buffer: ByteBuffer
    /// The offset of the next byte from the buffer's reader index.
    package private(set) var position = 0

    /// Creates a scanner at the start of the readable bytes of `buffer`.
    package init(_ buffer: ByteBuffer) {
        self.buffer = buffer
    }

    /// A scanned string. Its bytes stay in the buffer; see ``bytes(of:)`` and ``slice(of:)``.
    package struct RawString: Hashable, Sendable {
        /// The offsets of the bytes between the quotes.
        package let range: Range<Int>
        /// Whether the string contains escapes. If not, its raw bytes are its value.
        package let hasEscapes: Bool
    }

    // MARK: Tokens

    /// Skips white space and returns the next byte without consuming it.
    package mutating func peek() throws(JSONError) -> UInt8 {
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        while self.position < bytes.count {
            switch bytes[self.position] {
            case 0x20, 0x0a, 0x0d, 0x09: self.position += 1
            case let byte: return byte
            }
        }
        throw JSONError(.unexpectedEnd, at: self.position)
    }

    /// Skips white space and consumes `byte`. Throws if another byte is next.
    package mutating func expect(_ byte: UInt8) throws(JSONError) {
        guard try self.peek() == byte else { throw JSONError(.unexpectedByte, at: self.position) }
        self.position += 1
    }

    /// Skips white space and consumes `byte` if it is next. Returns whether it was.
    package mutating func take(_ byte: UInt8) throws(JSONError) -> Bool {
        guard try self.peek() == byte else { return false }
        self.position += 1
        return true
    }

    /// Skips white space. Throws if anything else is left.
    package mutating func expectEnd() throws(JSONError) {
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        while self.position < bytes.count {
            switch bytes[self.position] {
            case 0x20, 0x0a, 0x0d, 0x09: self.position += 1
            default: throw JSONError(.trailingBytes, at: self.position)
            }
        }
    }

    /// Consumes the byte that follows an element: a comma (returns true) or `close` (returns false).
    package mutating func takeSeparator(or close: UInt8) throws(JSONError) -> Bool {
        let byte = try self.peek()
        self.position += 1
        if byte == UInt8(ascii: ",") { return true }
        if byte == close { return false }
        throw JSONError(.unexpectedByte, at: self.position - 1)
    }

    // MARK: Strings

    /// Scans a string and validates its escapes and UTF-8.
    package mutating func scanString() throws(JSONError) -> RawString {
        try self.expect(UInt8(ascii: "\""))
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        let start = self.position
        var hasEscapes = false
        var isASCII = true
        var index = start
        while true {
            index = Self.nextSpecialByte(bytes, from: index)
            guard index < bytes.count else { throw JSONError(.unexpectedEnd, at: index) }
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\""):
                self.position = index + 1
                let range = start..<index
                if !isASCII {
                    do {
                        _ = try UTF8Span(validating: bytes.extracting(range))
                    } catch {
                        throw JSONError(.invalidUTF8, at: start)
                    }
                }
                return RawString(range: range, hasEscapes: hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                index = try Self.endOfEscape(bytes, at: index)
            case 0..<0x20:
                throw JSONError(.unexpectedByte, at: index)
            default:
                isASCII = false
                index += 1
            }
        }
    }

    /// A copy of the bytes of a scanned string, with escapes decoded.
    package func bytes(of string: RawString) -> [UInt8] {
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        var output: [UInt8] = []
        output.reserveCapacity(string.range.count)
        var index = string.range.lowerBound
        while index < string.range.upperBound {
            if bytes[index] == UInt8(ascii: "\\") {
                index = Self.appendEscape(bytes, at: index, to: &output)
            } else {
                output.append(bytes[index])
                index += 1
            }
        }
        return output
    }

    /// The value of a scanned string as a buffer: a slice of the text if it has no escapes, otherwise a decoded copy.
    package func slice(of string: RawString) -> ByteBuffer {
        if string.hasEscapes { return ByteBuffer(bytes: self.bytes(of: string)) }
        return self.slice(string.range)
    }

    /// A slice of the text.
    ///
    /// - Parameter range: Offsets as in ``RawString/range``.
    package func slice(_ range: Range<Int>) -> ByteBuffer {
        self.buffer.getSlice(at: self.buffer.readerIndex + range.lowerBound, length: range.count) ?? ByteBuffer()
    }

    /// Whether `string` equals `text` and is written without escapes.
    package func matches(_ string: RawString, _ text: StaticString) -> Bool {
        guard !string.hasEscapes, string.range.count == text.utf8CodeUnitCount else { return false }
        let bytes = self.buffer.readableBytesUInt8Span.extracting(string.range)
        var equal = true
        text.withUTF8Buffer { expected in
            for index in expected.indices where unsafe bytes[index] != expected[index] { equal = false }
        }
        return equal
    }

    // MARK: Numbers, literals and values

    /// Scans a 64-bit integer. Throws if the number has a fraction or an exponent.
    package mutating func scanInteger() throws(JSONError) -> Int64 {
        _ = try self.peek()
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        let start = self.position
        var index = start
        let isNegative = bytes[index] == UInt8(ascii: "-")
        if isNegative { index += 1 }
        let firstDigit = index
        var value: Int64 = 0
        while index < bytes.count, case let digit = bytes[index] &- UInt8(ascii: "0"), digit < 10 {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.subtractingReportingOverflow(Int64(digit))
            guard !overflow, !carry else { throw JSONError(.invalidInteger, at: start) }
            value = sum
            index += 1
        }
        guard index > firstDigit else { throw JSONError(.unexpectedByte, at: start) }
        guard bytes[firstDigit] != UInt8(ascii: "0") || index == firstDigit + 1 else {
            throw JSONError(.unexpectedByte, at: start)
        }
        if index < bytes.count, [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(bytes[index]) {
            throw JSONError(.invalidInteger, at: start)
        }
        self.position = index
        if isNegative { return value }
        guard value != .min else { throw JSONError(.invalidInteger, at: start) }
        return -value
    }

    /// Consumes `literal`, which is true, false or null. Throws if something else is next.
    mutating func expectLiteral(_ literal: StaticString) throws(JSONError) {
        let range = self.position..<(self.position + literal.utf8CodeUnitCount)
        guard range.upperBound <= self.buffer.readableBytes else {
            throw JSONError(.unexpectedEnd, at: self.position)
        }
        guard self.matches(RawString(range: range, hasEscapes: false), literal) else {
            throw JSONError(.unexpectedByte, at: self.position)
        }
        self.position = range.upperBound
    }

    /// Scans a number and returns the range of its text.
    mutating func scanNumber() throws(JSONError) -> Range<Int> {
        let buffer = self.buffer
        let bytes = buffer.readableBytesUInt8Span
        let start = self.position
        var index = start
        func digits() throws(JSONError) {
            let first = index
            while index < bytes.count, bytes[index] &- UInt8(ascii: "0") < 10 { index += 1 }
            guard index > first else { throw JSONError(.unexpectedByte, at: index) }
        }
        if index < bytes.count, bytes[index] == UInt8(ascii: "-") { index += 1 }
        let integer = index
        try digits()
        guard bytes[integer] != UInt8(ascii: "0") || index == integer + 1 else {
            throw JSONError(.unexpectedByte, at: integer)
        }
        if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
            index += 1
            try digits()
        }
        if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
            index += 1
            if index < bytes.count, bytes[index] == UInt8(ascii: "+") || bytes[index] == UInt8(ascii: "-") {
                index += 1
            }
            try digits()
        }
        self.position = index
        return start..<index
    }

    /// Skips a value of any type after validating it.
    package mutating func skipValue() throws(JSONError) {
        _ = try JSONValue.scan(&self, depth: 0)
    }

    // MARK: Bytes

    /// Returns the index, at or after `start`, of the first quote, backslash, control character or non-ASCII byte; the
    /// number of bytes if there is none.
    static func nextSpecialByte(_ bytes: Span<UInt8>, from start: Int) -> Int {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        var index = start
        if bytes.count - start >= Self.longString {
            unsafe bytes.withUnsafeBufferPointer { all in
                guard let base = all.baseAddress else { return }
                index += unsafe nws_json_plain_prefix(base + start, all.count - start)
            }
        }
        let raw = unsafe bytes.bytes
        while index + 8 <= bytes.count {
            let word = unsafe raw.unsafeLoadUnaligned(fromUncheckedByteOffset: index, as: UInt64.self)
            let quote = word ^ (ones &* 0x22)
            let backslash = word ^ (ones &* 0x5c)
            let hits =
                ((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash) | ((word &- (ones &* 0x20)) & ~word)
                | word
            if hits & highs != 0 { break }
            index += 8
        }
        while index < bytes.count {
            let byte = bytes[index]
            if byte == 0x22 || byte == 0x5c || byte < 0x20 || byte >= 0x80 { break }
            index += 1
        }
        return index
    }

    /// Minimum number of bytes for which calling the vectorized C function is worthwhile.
    private static let longString = 128

    /// Validates the escape at `index` and returns the index after it. A surrogate pair counts as one escape.
    private static func endOfEscape(_ bytes: Span<UInt8>, at index: Int) throws(JSONError) -> Int {
        guard index + 1 < bytes.count else { throw JSONError(.unexpectedEnd, at: index) }
        switch bytes[index + 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return index + 2
        case UInt8(ascii: "u"):
            guard let unit = Self.codeUnit(bytes, at: index) else { throw JSONError(.invalidEscape, at: index) }
            guard 0xd800..<0xe000 ~= unit else { return index + 6 }
            guard unit < 0xdc00, let low = Self.codeUnit(bytes, at: index + 6), 0xdc00..<0xe000 ~= low else {
                throw JSONError(.invalidEscape, at: index)
            }
            return index + 12
        default:
            throw JSONError(.invalidEscape, at: index)
        }
    }

    /// The UTF-16 code unit of the escape `\uXXXX` at `index`; nil if there is no such escape.
    private static func codeUnit(_ bytes: Span<UInt8>, at index: Int) -> UInt32? {
        guard index + 6 <= bytes.count, bytes[index] == UInt8(ascii: "\\"), bytes[index + 1] == UInt8(ascii: "u")
        else { return nil }
        var unit: UInt32 = 0
        for offset in 2..<6 {
            switch bytes[index + offset] {
            case let digit where digit &- UInt8(ascii: "0") < 10: unit = unit << 4 | UInt32(digit - UInt8(ascii: "0"))
            case let digit where (digit | 0x20) &- UInt8(ascii: "a") < 6:
                unit = unit << 4 | UInt32((digit | 0x20) - UInt8(ascii: "a") + 10)
            default: return nil
            }
        }
        return unit
    }

    /// Decodes the validated escape at `index` and returns the index after it.
    private static func appendEscape(_ bytes: Span<UInt8>, at index: Int, to output: inout [UInt8]) -> Int {
        switch bytes[index + 1] {
        case UInt8(ascii: "b"): output.append(0x08)
        case UInt8(ascii: "f"): output.append(0x0c)
        case UInt8(ascii: "n"): output.append(0x0a)
        case UInt8(ascii: "r"): output.append(0x0d)
        case UInt8(ascii: "t"): output.append(0x09)
        case UInt8(ascii: "u"):
            var value = Self.codeUnit(bytes, at: index) ?? 0xfffd
            var next = index + 6
            if 0xd800..<0xdc00 ~= value, let low = Self.codeUnit(bytes, at: next) {
                value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
                next += 6
            }
            output.append(contentsOf: String(Unicode.Scalar(value) ?? "\u{fffd}").utf8)
            return next
        case let byte: output.append(byte)
        }
        return index + 2
    }
}
