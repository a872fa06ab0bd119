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

/// ChaCha20 with the key and the nonce of one message (RFC 8439, section 2.4, with a counter that starts at 0).
struct MessageCipher {
    private let key: SymmetricKey
    private let nonce: Insecure.ChaCha20CTR.Nonce

    private static let blockLength = 64

    init(_ keys: ConversationKey.MessageKeys) throws(NIP44Error) {
        self.key = SymmetricKey(data: keys.chachaKey)
        guard let nonce = try? Insecure.ChaCha20CTR.Nonce(data: keys.chachaNonce) else { throw .cipherFailed }
        self.nonce = nonce
    }

    /// Encrypts or decrypts a piece.
    ///
    /// - Parameters:
    ///   - bytes: The piece.
    ///   - offset: Number of bytes of the message before it, a multiple of the block length.
    func apply(to bytes: RawSpan, from offset: Int) throws(NIP44Error) -> Data {
        do {
            let counter = try Insecure.ChaCha20CTR.Counter(offset: UInt32(offset / Self.blockLength))
            return try unsafe bytes.withUnsafeBytes {
                try unsafe Insecure.ChaCha20CTR.encrypt($0, using: self.key, counter: counter, nonce: self.nonce)
            }
        } catch {
            throw .cipherFailed
        }
    }
}
