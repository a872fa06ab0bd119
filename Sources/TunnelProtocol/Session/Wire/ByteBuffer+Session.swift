//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

extension ByteBuffer {
    /// The largest value of a variable-length integer (RFC 9000, section 16).
    static let maximumVariableLengthInteger: UInt64 = 1 << 62 - 1

    /// Reads a variable-length integer. Returns nil if it is truncated.
    mutating func readVariableLengthInteger() -> UInt64? {
        self.readEncodedInteger(as: UInt64.self, strategy: .quic)
    }

    /// Writes a variable-length integer. Values above ``maximumVariableLengthInteger`` are reduced to it.
    mutating func writeVariableLengthInteger(_ value: UInt64) {
        switch value {
        case 0..<64: self.writeInteger(UInt8(value))
        case 64..<16_384: self.writeInteger(UInt16(value) | 0x4000)
        case 16_384..<1_073_741_824: self.writeInteger(UInt32(value) | 0x8000_0000)
        default: self.writeInteger(min(value, Self.maximumVariableLengthInteger) | 0xc000_0000_0000_0000)
        }
    }

    /// The encoded length of a variable-length integer in bytes.
    static func variableLengthIntegerLength(_ value: UInt64) -> Int {
        switch value {
        case 0..<64: 1
        case 64..<16_384: 2
        case 16_384..<1_073_741_824: 4
        default: 8
        }
    }
}
