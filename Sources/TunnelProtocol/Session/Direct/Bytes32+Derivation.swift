//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

extension Bytes32 {
    /// What an integer is derived for.
    enum Derivation: UInt8 {
        case checkToken = 1
        case connectionID = 2
    }

    /// Derives an integer that nobody can guess who does not know these secret bytes.
    func derivedInteger(_ purpose: Derivation, _ number: UInt64) -> UInt64 {
        var message = self.bytes
        message.append(purpose.rawValue)
        for shift in stride(from: 56, through: 0, by: -8) {
            message.append(UInt8(truncatingIfNeeded: number >> UInt64(shift)))
        }
        return Bytes32.sha256(of: message).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
}
