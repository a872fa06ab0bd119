//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto
import CryptoExtras

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The symmetric key that two peers share, with which they encrypt and decrypt messages (NIP-44, version 2).
///
/// Deriving it takes a Diffie-Hellman operation (about 31 µs), so keep one per peer. It stores the HMAC state after the
/// key has been processed, which reduces the time to derive the keys of a message from about 5 µs to 1 µs.
package struct ConversationKey: Sendable {
    private let key: SymmetricKey
    private let keyedHMAC: HMAC<SHA256>

    /// Derives the key that `secretKey` shares with `publicKey`. Both peers derive the same key.
    ///
    /// - Throws: ``CryptoError/invalidPublicKey`` if `publicKey` is not on the curve.
    package init(secretKey: SecretKey, publicKey: PublicKey) throws(CryptoError) {
        let shared = try secretKey.sharedX(with: publicKey)
        let extracted = HKDF<SHA256>.extract(
            inputKeyMaterial: SymmetricKey(data: shared.bytes),
            salt: Array("nip44-v2".utf8)
        )
        self.init(SymmetricKey(data: extracted))
    }

    /// Creates a key from its 32 bytes. For test vectors.
    package init(bytes: Bytes32) {
        self.init(SymmetricKey(data: bytes.bytes))
    }

    /// Creates a key from 32 bytes that were derived otherwise than by NIP-44.
    init(bytes: ArraySlice<UInt8>) { self.init(SymmetricKey(data: bytes)) }

    private init(_ key: SymmetricKey) {
        self.key = key
        self.keyedHMAC = HMAC<SHA256>(key: key)
    }

    /// The 32 bytes of the key, to derive other keys from it, and for test vectors.
    package var bytes: [UInt8] { unsafe self.key.withUnsafeBytes { unsafe Array($0) } }

    /// The keys of one message.
    package struct MessageKeys {
        /// The ChaCha20 key, 32 bytes.
        package let chachaKey: ArraySlice<UInt8>
        /// The ChaCha20 nonce, 12 bytes.
        package let chachaNonce: ArraySlice<UInt8>
        /// The HMAC key, 32 bytes.
        package let hmacKey: ArraySlice<UInt8>
    }

    /// Derives the keys of a message: 76 bytes of HKDF-Expand with the nonce as info (NIP-44, encryption, step 3).
    package func messageKeys(nonce: Bytes32) -> MessageKeys {
        var output: [UInt8] = []
        output.reserveCapacity(96)
        var previous: [UInt8] = []
        let info = nonce.bytes
        for round in UInt8(1)...3 {
            var hmac = self.keyedHMAC
            hmac.update(data: previous)
            hmac.update(data: info)
            hmac.update(data: [round])
            previous = Array(hmac.finalize())
            output += previous
        }
        return MessageKeys(
            chachaKey: output[0..<32],
            chachaNonce: output[32..<44],
            hmacKey: output[44..<76]
        )
    }

    /// Encrypts `plaintext` with a random nonce and returns the payload as base64 characters.
    ///
    /// - Throws: ``NIP44Error/plaintextLength`` if `plaintext` is empty or longer than
    ///   ``NIP44/maximumPlaintextLength``.
    package func seal(_ plaintext: [UInt8]) throws(NIP44Error) -> [UInt8] {
        try self.seal(plaintext, nonce: .random())
    }

    /// Encrypts with the given nonce. For test vectors.
    package func seal(_ plaintext: [UInt8], nonce: Bytes32) throws(NIP44Error) -> [UInt8] {
        try self.seal(padded: Self.pad(plaintext), nonce: nonce)
    }

    /// Adds the length prefix and pads with zeros.
    private static func pad(_ plaintext: [UInt8]) throws(NIP44Error) -> [UInt8] {
        let length = plaintext.count
        guard length > 0, length <= NIP44.maximumPlaintextLength else { throw .plaintextLength }
        var padded: [UInt8] = []
        padded.reserveCapacity(6 + NIP44.paddedLength(length))
        if length > NIP44.maximumShortPlaintextLength {
            padded += [0, 0, UInt8(length >> 24 & 255), UInt8(length >> 16 & 255)]
        }
        padded += [UInt8(length >> 8 & 255), UInt8(length & 255)]
        padded += plaintext
        padded += repeatElement(0, count: NIP44.paddedLength(length) - length)
        return padded
    }

    /// Encrypts a plaintext that already has a length prefix and padding. Tests use it to create invalid padding.
    package func seal(padded: [UInt8], nonce: Bytes32) throws(NIP44Error) -> [UInt8] {
        let keys = self.messageKeys(nonce: nonce)
        let ciphertext = try Self.chacha20(padded, keys: keys)
        var payload: [UInt8] = []
        payload.reserveCapacity(NIP44.overhead + ciphertext.count)
        payload.append(NIP44.version)
        payload += nonce.bytes
        payload += ciphertext
        payload += HMAC<SHA256>.authenticationCode(for: payload[1...], using: SymmetricKey(data: keys.hmacKey))
        return Base64.encode(payload)
    }

    /// Decrypts a payload given as base64 characters. The MAC is verified before the ciphertext is decrypted.
    ///
    /// - Throws: ``NIP44Error`` if the payload is malformed, was encrypted with another key or was modified.
    package func open(_ payload: [UInt8]) throws(NIP44Error) -> [UInt8] {
        guard let first = payload.first, first != UInt8(ascii: "#") else { throw .unsupportedVersion }
        guard (NIP44.minimumPayloadLength...NIP44.maximumPayloadLength).contains(payload.count) else {
            throw .payloadLength
        }
        guard let data = Base64.decode(payload) else { throw .invalidBase64 }
        guard data[0] == NIP44.version else { throw .unsupportedVersion }
        guard data.count >= NIP44.overhead + 2 + 32, let nonce = Bytes32(data.span, at: 1) else {
            throw .payloadLength
        }
        let keys = self.messageKeys(nonce: nonce)
        let code = data[(data.count - 32)...]
        guard
            HMAC<SHA256>.isValidAuthenticationCode(
                code,
                authenticating: data[1..<(data.count - 32)],
                using: SymmetricKey(data: keys.hmacKey)
            )
        else { throw .invalidMAC }
        let padded = try Self.chacha20(data[33..<(data.count - 32)], keys: keys)
        return try Self.unpad(padded)
    }

    private static func chacha20(
        _ message: some DataProtocol,
        keys: MessageKeys
    ) throws(NIP44Error) -> Data {
        do {
            return try Insecure.ChaCha20CTR.encrypt(
                message,
                using: SymmetricKey(data: keys.chachaKey),
                nonce: Insecure.ChaCha20CTR.Nonce(data: keys.chachaNonce)
            )
        } catch {
            throw .cipherFailed
        }
    }

    private static func unpad(_ padded: Data) throws(NIP44Error) -> [UInt8] {
        let bytes = [UInt8](padded)
        guard bytes.count >= 2 + 32 else { throw .invalidPadding }
        var length = Int(bytes[0]) << 8 | Int(bytes[1])
        if length == 0 {
            guard bytes.count >= 6 else { throw .invalidPadding }
            length = Int(bytes[2]) << 24 | Int(bytes[3]) << 16 | Int(bytes[4]) << 8 | Int(bytes[5])
            guard length > NIP44.maximumShortPlaintextLength else { throw .invalidPadding }
        }
        let prefix = NIP44.prefixLength(length)
        guard length <= NIP44.maximumPlaintextLength, bytes.count == prefix + NIP44.paddedLength(length) else {
            throw .invalidPadding
        }
        return Array(bytes[prefix..<(prefix + length)])
    }
}

extension ConversationKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
