//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Constants and length calculations of NIP-44, version 2.
package enum NIP44 {
    /// The version byte at the start of a payload.
    static let version: UInt8 = 2
    /// Bytes that a payload has in addition to the ciphertext: version byte, nonce and MAC.
    static let overhead = 1 + 32 + 32
    /// Minimum length of a payload in base64 characters. It holds up to 32 bytes of plaintext.
    package static let minimumPayloadLength = 132
    /// Maximum length in bytes of a plaintext with the two-byte length prefix, which all implementations support.
    package static let maximumShortPlaintextLength = 65_535
    /// Maximum length in bytes of a plaintext that this module encrypts or decrypts.
    ///
    /// The extended length prefix of NIP-44 (June 2026) allows 4 GiB. The lower limit is above the message size of
    /// common relays and bounds the memory that a payload can allocate.
    package static let maximumPlaintextLength = 1 << 20
    /// Maximum length of a payload to decrypt, in base64 characters.
    package static let maximumPayloadLength = (Self.overhead + 6 + Self.maximumPlaintextLength + 2) / 3 * 4

    /// The length in bytes to which a plaintext of `length` bytes is padded, without the length prefix.
    ///
    /// Up to 256 bytes it is a multiple of 32. Above, it is a multiple of an eighth of the next power of two.
    package static func paddedLength(_ length: Int) -> Int {
        guard length > 32 else { return 32 }
        let nextPower = 1 << (Int.bitWidth - (length - 1).leadingZeroBitCount)
        let chunk = nextPower <= 256 ? 32 : nextPower / 8
        return chunk * ((length - 1) / chunk + 1)
    }

    /// The length in bytes of the length prefix of a plaintext of `length` bytes: two, or six in the extended form.
    package static func prefixLength(_ length: Int) -> Int {
        length <= Self.maximumShortPlaintextLength ? 2 : 6
    }

    /// The room in bytes that the message of a payload of `length` base64 characters needs at most.
    package static func maximumLength(ofPayload length: Int) -> Int { max(0, length / 4 * 3 - Self.overhead) }

    /// The length, in base64 characters, of the payload for a plaintext of `length` bytes.
    package static func payloadLength(plaintextLength length: Int) -> Int {
        (Self.overhead + Self.prefixLength(length) + Self.paddedLength(length) + 2) / 3 * 4
    }
}
