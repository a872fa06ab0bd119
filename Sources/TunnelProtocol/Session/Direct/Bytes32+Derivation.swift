//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

extension Bytes32 {
    /// What an integer is derived for.
    enum Derivation: UInt8 {
        case checkToken = 1
        case connectionID = 2
        case skippedNumber = 3
    }

    /// Derives an integer that cannot be predicted without these secret bytes.
    func derivedInteger(_ purpose: Derivation, _ number: UInt64) -> UInt64 {
        var message = ByteBuffer(bytes: self.bytes)
        message.writeMultipleIntegers(purpose.rawValue, number)
        let hash = Bytes32.sha256(of: Array(message.readableBytesView))
        return hash.bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
