//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Sizes and padding of NIP-44 version 2.
public enum NIP44 {
    /// The version byte.
    static let version: UInt8 = 2
    /// Version byte, nonce and code around the ciphertext.
    static let overhead = 1 + 32 + 32
    /// Fewest base64 characters of a payload: one byte of plaintext.
    public static let minimumPayloadLength = 132
    /// Most plaintext bytes with the two-byte length prefix, which every peer understands.
    public static let maximumShortPlaintextLength = 65_535
    /// Most plaintext bytes that are sealed or opened here. The extended length (June 2026) allows 4 GiB; 1 MiB is
    /// more than any relay forwards and bounds what a payload can make us allocate.
    public static let maximumPlaintextLength = 1 << 20
    /// Most base64 characters of a payload that is opened.
    public static let maximumPayloadLength = (Self.overhead + 6 + Self.maximumPlaintextLength + 2) / 3 * 4

    /// The length to which a plaintext of `length` bytes is padded, without its prefix: at least 32, then steps of an
    /// eighth of the next power of two.
    public static func paddedLength(_ length: Int) -> Int {
        guard length > 32 else { return 32 }
        let nextPower = 1 << (Int.bitWidth - (length - 1).leadingZeroBitCount)
        let chunk = nextPower <= 256 ? 32 : nextPower / 8
        return chunk * ((length - 1) / chunk + 1)
    }

    /// Bytes of the length prefix: two, or six for the extended form.
    package static func prefixLength(_ length: Int) -> Int {
        length <= Self.maximumShortPlaintextLength ? 2 : 6
    }

    /// Base64 characters of the payload for a plaintext of `length` bytes.
    public static func payloadLength(plaintextLength length: Int) -> Int {
        (Self.overhead + Self.prefixLength(length) + Self.paddedLength(length) + 2) / 3 * 4
    }
}
