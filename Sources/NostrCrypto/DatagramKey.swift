//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// Encrypts and authenticates the datagrams of one direction of a direct path, in one generation of keys: AEAD_AES_256_GCM
/// with a nonce made of an IV and the packet number, as in QUIC (RFC 9001, section 5.3). Not for concurrent use.
package struct DatagramKey {
    private let cipher: CipherContext
    private let iv: [UInt8]

    /// Number of bytes by which a ciphertext is longer than its plaintext.
    package static let overhead = CipherContext.tagLength
    /// Number of datagrams after which the key must be replaced (RFC 9001, section 6.6).
    package static let confidentialityLimit: UInt64 = 1 << 23

    /// Number of bytes from which a key is made.
    static let derivedLength = CipherContext.keyLength + CipherContext.nonceLength

    init(_ material: SymmetricKey) {
        var bytes = unsafe material.withUnsafeBytes { unsafe Array($0) }
        defer { bytes.erase() }
        self.cipher = CipherContext(.aes256GCM, key: bytes[..<CipherContext.keyLength])
        self.iv = Array(bytes[CipherContext.keyLength...])
    }

    private func withNonce<Result>(_ number: UInt64, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        unsafe withUnsafeTemporaryAllocation(byteCount: CipherContext.nonceLength, alignment: 8) { buffer in
            unsafe buffer.copyBytes(from: self.iv)
            for index in 0..<8 {
                unsafe buffer[CipherContext.nonceLength - 1 - index] ^= UInt8(
                    truncatingIfNeeded: number >> (8 * UInt64(index))
                )
            }
            return unsafe body(UnsafeRawBufferPointer(buffer))
        }
    }

    /// Encrypts the plaintext of a datagram in place, and writes the tag behind it.
    ///
    /// - Parameters:
    ///   - datagram: The header, which is authenticated; the plaintext; and ``overhead`` bytes for the tag.
    ///   - headerLength: Number of bytes of the header.
    ///   - number: The packet number. It must not have been used with this key before.
    /// - Throws: ``CryptoError/operationFailed`` if the datagram is too short for header and tag, or if libcrypto
    ///   reports an error.
    package func seal(_ datagram: inout MutableRawSpan, headerLength: Int, number: UInt64) throws(CryptoError) {
        guard datagram.byteCount >= headerLength + Self.overhead else { throw .operationFailed }
        let isSealed = unsafe datagram.withUnsafeMutableBytes { bytes in
            let tag = bytes.count - Self.overhead
            return unsafe self.withNonce(number) { nonce in
                unsafe self.cipher.seal(
                    UnsafeMutableRawBufferPointer(rebasing: bytes[headerLength..<tag]),
                    nonce: nonce,
                    header: UnsafeRawBufferPointer(rebasing: bytes[..<headerLength]),
                    tag: UnsafeMutableRawBufferPointer(rebasing: bytes[tag...])
                )
            }
        }
        if !isSealed { throw .operationFailed }
    }

    /// Decrypts a datagram, and appends its plaintext. Returns false, and appends nothing, if the datagram was sealed with another key,
    /// or modified.
    ///
    /// - Parameters:
    ///   - sealed: The ciphertext and the tag.
    ///   - header: The header, which is authenticated.
    ///   - number: The packet number.
    ///   - output: Receives the plaintext. Without room for it, the result is false.
    package func open(_ sealed: RawSpan, header: RawSpan, number: UInt64, to output: inout OutputRawSpan) -> Bool {
        guard sealed.byteCount >= Self.overhead, output.freeCapacity >= sealed.byteCount - Self.overhead else {
            return false
        }
        return unsafe output.withUnsafeMutableBytes { buffer, initialized in
            let isAuthentic = unsafe sealed.withUnsafeBytes { sealed in
                unsafe header.withUnsafeBytes { header in
                    unsafe self.withNonce(number) { nonce in
                        let tag = sealed.count - Self.overhead
                        return unsafe self.cipher.open(
                            UnsafeRawBufferPointer(rebasing: sealed[..<tag]),
                            nonce: nonce,
                            header: header,
                            tag: UnsafeRawBufferPointer(rebasing: sealed[tag...]),
                            to: UnsafeMutableRawBufferPointer(rebasing: buffer[initialized...])
                        )
                    }
                }
            }
            if isAuthentic { initialized += sealed.byteCount - Self.overhead }
            return isAuthentic
        }
    }
}

extension DatagramKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
