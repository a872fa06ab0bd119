//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSecp256k1
import Crypto

/// A secp256k1 secret key together with its public key.
///
/// The key material is stored in a single heap allocation, which is overwritten with zeros on deinitialization.
/// Printing or reflecting the object gives `<redacted>`.
@safe
public final class SecretKey: @unchecked Sendable {
    private let keypair: UnsafeMutablePointer<secp256k1_keypair>

    /// The x-only public key of this secret key.
    public let publicKey: PublicKey

    /// Creates a key from 32 bytes.
    ///
    /// - Throws: ``CryptoError/invalidSecretKey`` if the number is 0 or not less than the order of the curve.
    public init(_ bytes: Bytes32) throws(CryptoError) {
        let context = unsafe Secp256k1Context.shared.pointer
        let keypair = UnsafeMutablePointer<secp256k1_keypair>.allocate(capacity: 1)
        unsafe keypair.initialize(to: secp256k1_keypair())
        var secret = bytes.bytes
        defer { secret.erase() }
        guard unsafe secp256k1_keypair_create(context, keypair, secret) == 1 else {
            unsafe keypair.deallocate()
            throw .invalidSecretKey
        }
        var key = secp256k1_xonly_pubkey()
        var output = [UInt8](repeating: 0, count: 32)
        guard unsafe secp256k1_keypair_xonly_pub(context, &key, nil, keypair) == 1,
            unsafe secp256k1_xonly_pubkey_serialize(context, &output, &key) == 1,
            let publicKey = Bytes32(output)
        else {
            unsafe keypair.deallocate()
            throw .operationFailed
        }
        unsafe self.keypair = keypair
        self.publicKey = PublicKey(unchecked: publicKey)
    }

    deinit {
        // `secureZero` is not inlined. Otherwise the optimizer could remove its writes, because the memory is freed
        // directly afterwards.
        unsafe withExtendedLifetime(self.keypair) { pointer in
            let bytes = unsafe UnsafeMutableRawBufferPointer(
                start: pointer,
                count: MemoryLayout<secp256k1_keypair>.size
            )
            unsafe secureZero(bytes)
        }
        unsafe self.keypair.deallocate()
    }

    /// Creates a key with the system's cryptographically secure random number generator.
    public static func generate() -> SecretKey {
        while true {
            // About one in 2^128 random values is not a valid key. Try again.
            if let key = try? SecretKey(Bytes32.random()) { return key }
        }
    }

    /// A copy of the 32 secret bytes, for key files and key derivation. Never log it; it is not overwritten after use.
    public func exposeBytes() throws(CryptoError) -> Bytes32 {
        var output = [UInt8](repeating: 0, count: 32)
        defer { output.erase() }
        guard unsafe secp256k1_keypair_sec(Secp256k1Context.shared.pointer, &output, self.keypair) == 1,
            let bytes = Bytes32(output)
        else { throw .operationFailed }
        return bytes
    }

    /// Signs a 32-byte message with new auxiliary randomness (BIP-340). Takes about 17 µs.
    package func sign(_ message: Bytes32) throws(CryptoError) -> SchnorrSignature {
        try self.sign(message, auxiliaryRandomness: .random())
    }

    /// Signs with the given auxiliary randomness. For test vectors.
    package func sign(
        _ message: Bytes32,
        auxiliaryRandomness: Bytes32
    ) throws(CryptoError) -> SchnorrSignature {
        var output = [UInt8](repeating: 0, count: 64)
        let message = message.bytes
        let auxiliary = auxiliaryRandomness.bytes
        guard
            unsafe secp256k1_schnorrsig_sign32(
                Secp256k1Context.shared.pointer,
                &output,
                message,
                self.keypair,
                auxiliary
            ) == 1,
            let signature = SchnorrSignature(output)
        else { throw .operationFailed }
        return signature
    }

    /// The x coordinate of the Diffie-Hellman point shared with `peer`, not hashed (NIP-44). Takes about 31 µs.
    func sharedX(with peer: PublicKey) throws(CryptoError) -> Bytes32 {
        let context = unsafe Secp256k1Context.shared.pointer
        // ECDH needs a full point. An x-only key stands for the point with even y (BIP-340).
        let compressed = [2] + peer.bytes.bytes
        var point = secp256k1_pubkey()
        guard unsafe secp256k1_ec_pubkey_parse(context, &point, compressed, compressed.count) == 1 else {
            throw .invalidPublicKey
        }
        var secret = try self.exposeBytes().bytes
        defer { secret.erase() }
        var output = [UInt8](repeating: 0, count: 32)
        defer { output.erase() }
        let result = unsafe secp256k1_ecdh(
            context,
            &output,
            &point,
            secret,
            { output, x, _, _ in
                guard let output = unsafe output, let x = unsafe x else { return 0 }
                unsafe output.update(from: x, count: 32)
                return 1
            },
            nil
        )
        guard result == 1, let shared = Bytes32(output) else { throw .operationFailed }
        return shared
    }
}

extension SecretKey: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "<redacted>" }
    public var debugDescription: String { "<redacted>" }
    /// Shows no properties, so that a dump does not contain the key.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Overwrites `bytes` with zeros. It is not inlined, so that the optimizer keeps the writes.
@inline(never)
private func secureZero(_ bytes: UnsafeMutableRawBufferPointer) {
    for index in bytes.indices {
        unsafe bytes[index] = 0
    }
}

extension [UInt8] {
    /// Overwrites the elements with zeros before the storage is released.
    @inline(never)
    mutating func erase() {
        for index in self.indices {
            self[index] = 0
        }
    }
}
