//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Encodes fields so that they cannot be confused with each other: each is preceded by its length (4 bytes, network byte
/// order).
package func lengthPrefixed(_ fields: [[UInt8]]) -> [UInt8] {
    var output: [UInt8] = []
    output.reserveCapacity(fields.reduce(0) { $0 + 4 + $1.count })
    for field in fields {
        let count = UInt32(clamping: field.count)
        output += [UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255)]
        output += field
    }
    return output
}

extension Bytes32 {
    /// The tagged hash of BIP-340, SHA-256(SHA-256(tag) ‖ SHA-256(tag) ‖ message), over length-prefixed fields.
    ///
    /// - Parameter tag: States what the hash is for, so that a signature of one hash is never valid for another purpose.
    package static func tagged(_ tag: String, _ fields: [[UInt8]]) -> Bytes32 {
        let prefix = Self.sha256(of: Array(tag.utf8)).bytes
        return Self.sha256(of: prefix + prefix + lengthPrefixed(fields))
    }
}
