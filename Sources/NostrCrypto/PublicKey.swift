//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSecp256k1

/// A BIP-340 x-only public key as NIP-01 writes it: 32 bytes, 64 lower-case hex digits.
///
/// A value read from an event may be any 32 bytes: verifying a signature fails for one that is not on the curve. Keys
/// that people or names give are read with ``init(validating:)``.
public struct PublicKey: Hashable, Sendable {
    /// The x coordinate.
    public let bytes: Bytes32

    /// Takes any 32 bytes, on the curve or not.
    public init(unchecked bytes: Bytes32) {
        self.bytes = bytes
    }

    /// Takes 32 bytes that are the x coordinate of a point on the curve.
    public init(validating bytes: Bytes32) throws(CryptoError) {
        self.bytes = bytes
        guard self.isOnCurve else { throw .invalidPublicKey }
    }

    /// Whether the bytes are the x coordinate of a point on secp256k1.
    public var isOnCurve: Bool {
        self.parsed() != nil
    }

    /// Sixty-four lower-case hex digits.
    public var hex: String { self.bytes.hex }

    /// The library's form of the key; nil if it is not on the curve. About 4 µs.
    func parsed() -> secp256k1_xonly_pubkey? {
        var key = secp256k1_xonly_pubkey()
        let bytes = self.bytes.bytes
        let result = unsafe secp256k1_xonly_pubkey_parse(Secp256k1Context.shared.pointer, &key, bytes)
        return result == 1 ? key : nil
    }

    /// Whether `signature` over the 32-byte `message` was made by this key (BIP-340). About 30 µs.
    public func verify(_ signature: SchnorrSignature, of message: Bytes32) -> Bool {
        guard var key = self.parsed() else { return false }
        let signature = signature.bytes
        let message = message.bytes
        return unsafe secp256k1_schnorrsig_verify(
            Secp256k1Context.shared.pointer,
            signature,
            message,
            message.count,
            &key
        ) == 1
    }

    /// As ``verify(_:of:)`` for a message of any length, which BIP-340 allows and Nostr does not use.
    package func verify(_ signature: SchnorrSignature, ofBytes message: [UInt8]) -> Bool {
        guard var key = self.parsed() else { return false }
        return unsafe secp256k1_schnorrsig_verify(
            Secp256k1Context.shared.pointer,
            signature.bytes,
            message,
            message.count,
            &key
        ) == 1
    }
}

extension PublicKey: CustomStringConvertible {
    public var description: String { self.hex }
}
