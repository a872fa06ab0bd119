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

/// Encrypts and authenticates the datagrams of one direction of a direct path, in one generation of keys: AEAD_AES_256_GCM
/// with a nonce made of an IV and the packet number, as in QUIC (RFC 9001, section 5.3).
package struct DatagramKey: Sendable {
    private let key: SymmetricKey
    private let iv: [UInt8]

    /// Number of bytes by which a ciphertext is longer than its plaintext.
    package static let overhead = 16
    /// Number of datagrams after which the key must be replaced (RFC 9001, section 6.6).
    package static let confidentialityLimit: UInt64 = 1 << 23

    private static let ivLength = 12
    /// Number of bytes from which a key is made.
    static let derivedLength = 32 + ivLength

    init(_ material: SymmetricKey) {
        var bytes = unsafe material.withUnsafeBytes { unsafe Array($0) }
        defer { bytes.erase() }
        self.key = SymmetricKey(data: bytes[..<32])
        self.iv = Array(bytes[32...])
    }

    private func nonce(_ number: UInt64) -> [UInt8] {
        var bytes = self.iv
        for index in 0..<8 {
            bytes[Self.ivLength - 1 - index] ^= UInt8(truncatingIfNeeded: number >> (8 * UInt64(index)))
        }
        return bytes
    }

    /// Encrypts a plaintext, and appends ciphertext and tag to the datagram, whose bytes so far are authenticated, too.
    ///
    /// - Parameters:
    ///   - plaintext: The bytes to encrypt.
    ///   - number: The packet number. It must not have been used with this key before.
    ///   - datagram: The datagram, which contains the header.
    /// - Throws: ``CryptoError/operationFailed``, which does not happen with plaintexts of less than 64 GiB.
    package func seal(
        _ plaintext: [UInt8],
        number: UInt64,
        appendingTo datagram: inout [UInt8]
    ) throws(CryptoError) {
        guard let nonce = try? AES.GCM.Nonce(data: self.nonce(number)),
            let box = try? AES.GCM.seal(plaintext, using: self.key, nonce: nonce, authenticating: datagram),
            let combined = box.combined
        else { throw .operationFailed }
        datagram.append(contentsOf: combined.dropFirst(Self.ivLength))
    }

    /// Decrypts what follows the header of a datagram. Returns nil if it was sealed with another key, or modified.
    ///
    /// - Parameters:
    ///   - datagram: The header, which is authenticated, the ciphertext and the tag.
    ///   - headerLength: Number of bytes of the header.
    ///   - number: The packet number.
    package func open(_ datagram: [UInt8], headerLength: Int, number: UInt64) -> (some Collection<UInt8>)? {
        // With nonce, ciphertext and tag in one piece, the box does not copy them again.
        var combined = Data(capacity: Self.ivLength + datagram.count)
        combined.append(contentsOf: self.nonce(number))
        combined.append(contentsOf: datagram.dropFirst(headerLength))
        guard let box = try? AES.GCM.SealedBox(combined: combined) else { return Data?.none }
        return try? AES.GCM.open(box, using: self.key, authenticating: datagram.prefix(headerLength))
    }
}

extension DatagramKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
