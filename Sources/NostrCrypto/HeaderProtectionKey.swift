//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// Hides the packet numbers of datagrams, so that an observer cannot follow a client that changes its address (RFC 9001,
/// section 5.4). Not for concurrent use.
package struct HeaderProtectionKey {
    private let cipher: CipherContext

    /// Number of bytes of ciphertext from which a mask is made.
    package static let sampleLength = 16
    /// Number of bytes from which a key is made.
    static let derivedLength = CipherContext.keyLength

    init(_ key: SymmetricKey) {
        var bytes = unsafe key.withUnsafeBytes { unsafe Array($0) }
        defer { bytes.erase() }
        self.cipher = CipherContext(.aes256ECB, key: bytes)
    }

    /// Returns the mask for a sample of ciphertext: the first 5 bytes of its AES-256-ECB encryption; nil if the sample does not have
    /// ``sampleLength`` bytes.
    package func mask(_ sample: RawSpan) -> InlineArray<5, UInt8>? {
        guard sample.byteCount == Self.sampleLength else { return nil }
        return unsafe withUnsafeTemporaryAllocation(byteCount: Self.sampleLength, alignment: 16) { block in
            guard unsafe sample.withUnsafeBytes({ unsafe self.cipher.update($0, to: block.baseAddress) }) else {
                return nil
            }
            return InlineArray { index in unsafe block[index] }
        }
    }
}

extension HeaderProtectionKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
