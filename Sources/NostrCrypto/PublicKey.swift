//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSecp256k1

/// An x-only public key on secp256k1 (BIP-340), which identifies a Nostr user (NIP-01).
///
/// A key from an event can be any 32 bytes, because verifying a signature fails for a key that is not on the curve. Use
/// ``init(validating:)`` for keys that people enter or that names contain.
public struct PublicKey: Hashable, Sendable {
    /// The x coordinate.
    public let bytes: Bytes32

    /// Creates a key without checking that it is on the curve.
    public init(unchecked bytes: Bytes32) {
        self.bytes = bytes
    }

    /// Creates a key and checks that it is on the curve.
    ///
    /// - Throws: ``CryptoError/invalidPublicKey`` if it is not.
    public init(validating bytes: Bytes32) throws(CryptoError) {
        self.bytes = bytes
        guard self.isOnCurve else { throw .invalidPublicKey }
    }

    /// Whether the bytes are the x coordinate of a point on secp256k1.
    public var isOnCurve: Bool {
        self.parsed() != nil
    }

    /// The key as 64 lower-case hex digits.
    public var hex: String { self.bytes.hex }

    /// The key in the form of libsecp256k1; nil if it is not on the curve. Takes about 4 µs.
    func parsed() -> secp256k1_xonly_pubkey? {
        var key = secp256k1_xonly_pubkey()
        let bytes = self.bytes.bytes
        let result = unsafe secp256k1_xonly_pubkey_parse(Secp256k1Context.shared.pointer, &key, bytes)
        return result == 1 ? key : nil
    }

    /// Whether `signature` is a valid signature of `message` by this key (BIP-340). Takes about 30 µs.
    package func verify(_ signature: SchnorrSignature, of message: Bytes32) -> Bool {
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

    /// Like ``verify(_:of:)`` for a message of any length, which BIP-340 allows and Nostr does not use. For test
    /// vectors.
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
