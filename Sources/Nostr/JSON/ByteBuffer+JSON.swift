//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

extension ByteBuffer {
    /// Writes a quoted JSON string with the escapes that NIP-01 requires for event IDs.
    ///
    /// Quotes, backslashes and the control characters `\b \t \n \f \r` get short escapes. Other control characters
    /// become lower-case `\u00xx`. Everything else is written unchanged.
    ///
    /// - Parameter bytes: The string as UTF-8. It is not validated.
    package mutating func writeJSONString(_ bytes: Span<UInt8>) {
        self.writeInteger(UInt8(ascii: "\""))
        var start = 0
        while start < bytes.count {
            var end = JSONScanner.nextSpecialByte(bytes, from: start)
            // Bytes outside ASCII need no escape.
            while end < bytes.count, bytes[end] >= 0x80 {
                end = JSONScanner.nextSpecialByte(bytes, from: end + 1)
            }
            unsafe self.writeBytes(bytes.extracting(start..<end).bytes)
            if end < bytes.count { self.writeJSONEscape(of: bytes[end]) }
            start = end + 1
        }
        self.writeInteger(UInt8(ascii: "\""))
    }

    /// Writes a quoted JSON string with the escapes that NIP-01 requires for event IDs.
    ///
    /// - Parameter bytes: The string as UTF-8. It is not validated.
    package mutating func writeJSONString(_ bytes: [UInt8]) {
        self.writeJSONString(bytes.span)
    }

    /// Writes a quoted JSON string with the escapes that NIP-01 requires for event IDs.
    package mutating func writeJSONString(_ string: String) {
        self.writeJSONString(Array(string.utf8).span)
    }

    private mutating func writeJSONEscape(of byte: UInt8) {
        switch byte {
        case 0x22: self.writeStaticString("\\\"")
        case 0x5c: self.writeStaticString("\\\\")
        case 0x08: self.writeStaticString("\\b")
        case 0x09: self.writeStaticString("\\t")
        case 0x0a: self.writeStaticString("\\n")
        case 0x0c: self.writeStaticString("\\f")
        case 0x0d: self.writeStaticString("\\r")
        default:
            self.writeStaticString("\\u00")
            self.writeHex([byte])
        }
    }

    /// Writes `bytes` as lower-case hex digits.
    package mutating func writeHex(_ bytes: [UInt8]) {
        let count = 2 * bytes.count
        unsafe self.writeWithUnsafeMutableBytes(minimumWritableBytes: count) { output in
            for index in bytes.indices {
                unsafe output[2 * index] = Self.hexDigit(bytes[index] >> 4)
                unsafe output[2 * index + 1] = Self.hexDigit(bytes[index] & 15)
            }
            return count
        }
    }

    @inline(__always)
    private static func hexDigit(_ nibble: UInt8) -> UInt8 {
        nibble &+ (nibble < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)
    }

    /// Writes an integer in decimal.
    package mutating func writeDecimal(_ value: some BinaryInteger) {
        self.writeString(String(value))
    }
}
