//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Hexadecimal encoding of bytes. Nostr writes IDs, keys and signatures in lower-case hex (NIP-01).
package enum Hex {
    private static let digits: [UInt8] = Array("0123456789abcdef".utf8)

    /// Appends the lower-case hex digits of `bytes` to `output` as ASCII.
    package static func encodeASCII(_ bytes: some Sequence<UInt8>, into output: inout [UInt8]) {
        for byte in bytes {
            output.append(Self.digits[Int(byte >> 4)])
            output.append(Self.digits[Int(byte & 15)])
        }
    }

    /// Encodes `bytes` as lower-case hex digits.
    package static func encode(_ bytes: some Collection<UInt8>) -> String {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count * 2)
        Self.encodeASCII(bytes, into: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// Decodes an even number of hex digits of either case; nil for anything else.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(digits.count / 2)
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(digits[index]), let low = Self.value(digits[index + 1]) else { return nil }
            output.append(high << 4 | low)
        }
        return output
    }

    /// The value of a hex digit of either case; nil for any other byte.
    static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// The value of a lower-case hex digit; 0xff for any other byte.
    @inline(__always)
    static func lowercaseValue(_ digit: UInt8) -> UInt8 {
        let number = digit &- UInt8(ascii: "0")
        if number < 10 { return number }
        let letter = digit &- UInt8(ascii: "a")
        return letter < 6 ? letter &+ 10 : 0xff
    }
}
