//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The nonce of a mapping. The router changes or removes the mapping only for requests with this nonce (RFC 6887, section 11.1).
package struct PortMappingNonce: Hashable, Sendable {
    let bytes: [UInt8]

    static let length = 12

    /// - Parameter random: Random bytes, of which the first 12 are used.
    /// - Returns: Nil if there are fewer.
    package init?(random: [UInt8]) {
        guard random.count >= Self.length else { return nil }
        self.bytes = Array(random.prefix(Self.length))
    }
}
