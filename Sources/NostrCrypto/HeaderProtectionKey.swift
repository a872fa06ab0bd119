//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto
import CryptoExtras

/// Hides the packet numbers of datagrams, so that an observer cannot follow a client that changes its address (RFC 9001,
/// section 5.4).
package struct HeaderProtectionKey: Sendable {
    private let key: SymmetricKey

    /// Number of bytes of ciphertext from which a mask is made.
    package static let sampleLength = 16
    /// Number of bytes from which a key is made.
    static let derivedLength = 32

    init(_ key: SymmetricKey) { self.key = key }

    /// Returns the mask for a sample of ciphertext: its AES-256-ECB encryption, of which the first 5 bytes are used. Nil if the
    /// sample does not have ``sampleLength`` bytes.
    package func mask(_ sample: ArraySlice<UInt8>) -> [UInt8]? {
        guard sample.count == Self.sampleLength else { return nil }
        var block = Array(sample)
        return (try? AES.permute(&block, key: self.key)).map { block }
    }
}

extension HeaderProtectionKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
