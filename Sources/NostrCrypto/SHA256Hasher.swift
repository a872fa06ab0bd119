//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// SHA-256 over several pieces, without joining them first.
public struct SHA256Hasher: Sendable {
    private var hasher = SHA256()

    public init() {}

    /// Adds `bytes`.
    public mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { unsafe self.hasher.update(bufferPointer: $0) }
    }

    /// Adds `bytes`.
    public mutating func update(_ bytes: [UInt8]) {
        self.hasher.update(data: bytes)
    }

    /// The digest of all that was added.
    public func finalize() -> Bytes32 {
        Bytes32(digest: self.hasher.finalize())
    }
}
