//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Bytes as groups of five bits, first bit first: what base32 and bech32 have in common.
enum FiveBitGroups {
    /// The groups of `bytes`; the last is filled with zeros.
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

    /// The bytes of `groups`; nil if a whole group is left over, or bits that are not zero (one value has one form).
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
