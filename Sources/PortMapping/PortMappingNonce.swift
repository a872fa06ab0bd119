//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What makes a mapping the node's own: the router changes it only for requests with the same nonce (RFC 6887, section 11.1).
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
