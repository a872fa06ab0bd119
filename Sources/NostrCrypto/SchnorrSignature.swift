//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A Schnorr signature of 64 bytes (BIP-340).
package struct SchnorrSignature: Hashable, Sendable {
    /// The first 32 bytes: the x coordinate of the nonce point.
    package let r: Bytes32
    /// The last 32 bytes: the scalar.
    package let s: Bytes32

    /// Length of a signature in bytes.
    package static let length = 64

    /// Creates a signature from its two halves.
    package init(r: Bytes32, s: Bytes32) {
        self.r = r
        self.s = s
    }

    /// Creates a signature from 64 bytes; nil for any other length.
    package init?(_ bytes: [UInt8]) {
        guard bytes.count == Self.length, let r = Bytes32(bytes.span), let s = Bytes32(bytes.span, at: 32) else {
            return nil
        }
        self.init(r: r, s: s)
    }

    /// The 64 bytes.
    package var bytes: [UInt8] { self.r.bytes + self.s.bytes }

    /// The signature as 128 lower-case hex digits.
    package var hex: String { Hex.encode(self.bytes) }
}
