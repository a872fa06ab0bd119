//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// The ID of an event: the SHA-256 of its canonical form (NIP-01).
package struct EventID: Hashable, Sendable {
    /// The 32 bytes of the hash.
    package let bytes: Bytes32

    /// Creates an ID from the 32 bytes of the hash.
    package init(_ bytes: Bytes32) {
        self.bytes = bytes
    }

    /// The ID as 64 lower-case hex digits.
    package var hex: String { self.bytes.hex }
}

extension EventID: CustomStringConvertible {
    package var description: String { self.hex }
}
