//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

extension Bytes32 {
    /// Computes the SHA-256 of `data`.
    package static func sha256(of data: [UInt8]) -> Bytes32 {
        Bytes32(digest: Crypto.SHA256.hash(data: data))
    }

    /// Creates a value from a SHA-256 digest.
    init(digest: SHA256.Digest) {
        // The fallback is never used, because a SHA-256 digest has 32 bytes.
        self = Bytes32(Array(digest)) ?? .zero
    }
}
