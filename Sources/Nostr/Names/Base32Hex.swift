//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Base32 with the extended hex alphabet (RFC 4648, section 7), lower case, without padding, as NIP-74 names use it.
public enum Base32Hex {
    private static let alphabet: [UInt8] = Array("0123456789abcdefghijklmnopqrstuv".utf8)

    /// The lower-case characters of `bytes`.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        var output: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for byte in bytes {
            accumulator = (accumulator << 8 | UInt32(byte)) & 0xfff
            bits += 8
            while bits >= 5 {
                bits -= 5
                output.append(Self.alphabet[Int(accumulator >> bits & 31)])
            }
        }
        if bits > 0 { output.append(Self.alphabet[Int(accumulator << (5 - bits) & 31)]) }
        return String(decoding: output, as: UTF8.self)
    }

    /// The bytes of characters of either case; nil for other characters, impossible lengths, and unused bits that are
    /// not zero (one value has one spelling).
    public static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var output: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for character in text.utf8 {
            let value: UInt8
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = character - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "v"): value = character - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "V"): value = character - UInt8(ascii: "A") + 10
            default: return nil
            }
            accumulator = (accumulator << 5 | UInt32(value)) & 0xfff
            bits += 5
            if bits >= 8 {
                bits -= 8
                output.append(UInt8(accumulator >> bits & 0xff))
            }
        }
        // Left over are fewer bits than a character has, all zero; else a character too many.
        guard bits < 5, accumulator & ((1 << bits) - 1) == 0 else { return nil }
        return output
    }
}
