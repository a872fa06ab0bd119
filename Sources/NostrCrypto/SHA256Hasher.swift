//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// An incremental SHA-256 computation over several pieces of data.
package struct SHA256Hasher: Sendable {
    private var hasher = SHA256()

    /// Creates a hasher without data.
    package init() {}

    /// Adds `bytes` to the hashed data.
    package mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe self.hasher.update(bufferPointer: $0) }
    }

    /// Adds `bytes` to the hashed data.
    package mutating func update(_ bytes: [UInt8]) {
        self.hasher.update(data: bytes)
    }

    /// The SHA-256 of all data added so far.
    package func finalize() -> Bytes32 {
        Bytes32(digest: self.hasher.finalize())
    }
}
