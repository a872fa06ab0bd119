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

    /// Writes the nonce of a packet number to the start of a buffer of at least ``ivLength`` bytes.
    private func writeNonce(_ number: UInt64, to buffer: UnsafeMutableRawBufferPointer) {
        unsafe buffer.copyBytes(from: self.iv)
        for index in 0..<8 {
            unsafe buffer[Self.ivLength - 1 - index] ^= UInt8(truncatingIfNeeded: number >> (8 * UInt64(index)))
        }
    }

    /// Encrypts a plaintext, and appends ciphertext and tag to the datagram, whose bytes so far are authenticated, too.
    ///
    /// - Parameters:
    ///   - plaintext: The bytes to encrypt.
    ///   - number: The packet number. It must not have been used with this key before.
    ///   - datagram: The datagram, which contains the header.
    /// - Throws: ``CryptoError/operationFailed``, which does not happen with plaintexts of less than 64 GiB.
    package func seal(_ plaintext: RawSpan, number: UInt64, appendingTo datagram: inout [UInt8]) throws(CryptoError) {
        let nonce = unsafe withUnsafeTemporaryAllocation(byteCount: Self.ivLength, alignment: 1) { buffer in
            unsafe self.writeNonce(number, to: buffer)
            return unsafe try? AES.GCM.Nonce(data: UnsafeRawBufferPointer(buffer))
        }
        guard let nonce,
            let box = unsafe plaintext.withUnsafeBytes({
                unsafe try? AES.GCM.seal($0, using: self.key, nonce: nonce, authenticating: datagram)
            }),
            let combined = box.combined
        else { throw .operationFailed }
        unsafe combined.withUnsafeBytes {
            unsafe datagram.append(contentsOf: UnsafeRawBufferPointer(rebasing: $0[Self.ivLength...]))
        }
    }

    /// Decrypts a datagram. Returns what `use` makes of the plaintext; nil if the datagram was sealed with another key, or
    /// modified.
    ///
    /// - Parameters:
    ///   - sealed: The ciphertext and the tag.
    ///   - header: The header, which is authenticated.
    ///   - number: The packet number.
    ///   - use: Is passed the plaintext, which exists no longer than the call.
    package func open<Result>(
        _ sealed: RawSpan,
        header: [UInt8],
        number: UInt64,
        use: (RawSpan) -> Result
    ) -> Result? {
        // With nonce, ciphertext and tag in one piece, the box is made with one copy.
        let count = Self.ivLength + sealed.byteCount
        let box = unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 1) { buffer in
            unsafe self.writeNonce(number, to: buffer)
            unsafe sealed.withUnsafeBytes {
                unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[Self.ivLength...]).copyMemory(from: $0)
            }
            return unsafe try? AES.GCM.SealedBox(combined: UnsafeRawBufferPointer(buffer))
        }
        guard let box, let plaintext = try? AES.GCM.open(box, using: self.key, authenticating: header) else {
            return nil
        }
        return use(plaintext.bytes)
    }
}

extension DatagramKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
