//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

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
}

extension ConversationKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
