//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A 64-byte BIP-340 signature.
public struct SchnorrSignature: Hashable, Sendable {
    /// The x coordinate of the nonce point.
    public let r: Bytes32
    /// The scalar.
    public let s: Bytes32

    public init(r: Bytes32, s: Bytes32) {
        self.r = r
        self.s = s
    }

    /// Takes exactly 64 bytes; nil for any other count.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 64, let r = Bytes32(bytes.span), let s = Bytes32(bytes.span, at: 32) else { return nil }
        self.init(r: r, s: s)
    }

    /// The 64 bytes.
    public var bytes: [UInt8] { self.r.bytes + self.s.bytes }

    /// One hundred and twenty-eight lower-case hex digits.
    public var hex: String { Hex.encode(self.bytes) }
}
