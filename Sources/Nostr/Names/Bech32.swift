//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Bech32 encoding (BIP-173) as used by NIP-19: without the limit of 90 characters, and without bech32m.
public enum Bech32 {
    /// Maximum length of a string to decode, in characters (NIP-19).
    package static let maximumLength = 5_000

    private static let alphabet: [UInt8] = Array("qpzry9x8gf2tvdw0s3jn54khce6mua7l".utf8)

    /// The reason why a string is not bech32.
    public enum DecodingError: Error, Hashable, Sendable {
        /// The string is longer than ``Bech32/maximumLength``.
        case tooLong
        /// The string has a character outside the alphabet, or mixes upper and lower case.
        case invalidCharacter
        /// There is no `1`, nothing before it, or fewer than six characters after it.
        case missingSeparator
        /// The checksum does not match. The string was probably mistyped or truncated.
        case invalidChecksum
        /// The data does not end at a byte boundary, or its unused bits are not zero.
        case invalidPadding
    }

    /// Decodes `text` into its lower-case prefix and its five-bit groups, without the checksum.
    package static func decodeGroups(_ text: String) throws(DecodingError) -> (prefix: String, groups: [UInt8]) {
        var bytes = Array(text.utf8)
        guard bytes.count <= Self.maximumLength else { throw .tooLong }
        guard bytes.allSatisfy({ (33...126).contains($0) }) else { throw .invalidCharacter }
        let hasUpper = bytes.contains { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        let hasLower = bytes.contains { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }
        guard !(hasUpper && hasLower) else { throw .invalidCharacter }
        if hasUpper { bytes = bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 } }
        guard let separator = bytes.lastIndex(of: UInt8(ascii: "1")), separator > 0, bytes.count - separator > 6
        else { throw .missingSeparator }
        let prefix = bytes[..<separator]
        var groups: [UInt8] = []
        for byte in bytes[(separator + 1)...] {
            guard let value = Self.alphabet.firstIndex(of: byte) else { throw .invalidCharacter }
            groups.append(UInt8(value))
        }
        guard Self.polymod(Self.expand(prefix) + groups) == 1 else { throw .invalidChecksum }
        return (String(decoding: prefix, as: UTF8.self), Array(groups.dropLast(6)))
    }

    /// Decodes `text` into its lower-case prefix and its bytes.
    package static func decode(_ text: String) throws(DecodingError) -> (prefix: String, bytes: [UInt8]) {
        let (prefix, groups) = try Self.decodeGroups(text)
        guard let bytes = FiveBitGroups.decode(groups) else { throw .invalidPadding }
        return (prefix, bytes)
    }

    /// Encodes `bytes` with a prefix.
    ///
    /// - Parameter prefix: The human-readable part, in lower-case ASCII.
    package static func encode(prefix: String, bytes: [UInt8]) -> String {
        let groups = FiveBitGroups.encode(bytes)
        let checksum = Self.polymod(Self.expand(prefix.utf8) + groups + [0, 0, 0, 0, 0, 0]) ^ 1
        let tail = (0..<6).map { UInt8(checksum >> UInt32(5 * (5 - $0)) & 31) }
        let characters = (groups + tail).map { Self.alphabet[Int($0)] }
        return prefix + "1" + String(decoding: characters, as: UTF8.self)
    }

    private static func expand(_ prefix: some Collection<UInt8>) -> [UInt8] {
        prefix.map { $0 >> 5 } + [0] + prefix.map { $0 & 31 }
    }

    /// The checksum function (BIP-173).
    private static func polymod(_ values: [UInt8]) -> UInt32 {
        let generator: [UInt32] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3]
        var checksum: UInt32 = 1
        for value in values {
            let top = checksum >> 25
            checksum = (checksum & 0x1ff_ffff) << 5 ^ UInt32(value)
            for bit in 0..<5 where top >> UInt32(bit) & 1 == 1 {
                checksum ^= generator[bit]
            }
        }
        return checksum
    }
}
