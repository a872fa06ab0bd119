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

    /// Turns a sample of ciphertext into the mask: its AES-256-ECB encryption, of which the first 5 bytes are used. Returns false
    /// if the sample does not have ``sampleLength`` bytes.
    package func encrypt(_ sample: inout [UInt8]) -> Bool {
        (try? AES.permute(&sample, key: self.key)) != nil
    }
}

extension HeaderProtectionKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
