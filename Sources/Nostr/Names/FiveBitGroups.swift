//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Converts between bytes and groups of five bits, most significant bit first, for base32 and bech32.
enum FiveBitGroups {
    /// Splits `bytes` into groups. The last group is padded with zero bits.
    static func encode(_ bytes: some Collection<UInt8>) -> [UInt8] {
        var groups: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for byte in bytes {
            accumulator = (accumulator << 8 | UInt32(byte)) & 0xfff
            bits += 8
            while bits >= 5 {
                bits -= 5
                groups.append(UInt8(accumulator >> bits & 31))
            }
        }
        if bits > 0 { groups.append(UInt8(accumulator << (5 - bits) & 31)) }
        return groups
    }

    /// Joins `groups` into bytes. Returns nil if a whole group is left over or a padding bit is not zero.
    static func decode(_ groups: some Collection<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits: UInt32 = 0
        for group in groups {
            accumulator = (accumulator << 5 | UInt32(group & 31)) & 0xfff
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(accumulator >> bits & 0xff))
            }
        }
        guard bits < 5, accumulator & ((1 << bits) - 1) == 0 else { return nil }
        return bytes
    }
}
