//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Names a session in the datagrams of a direct path (RFC 9000, section 5.1). The receiver of the datagrams chooses it. A node
/// uses a different one for each address of the peer, and others after its own network has changed, so that observers cannot link
/// the addresses.
package struct ConnectionID: Hashable, Sendable {
    package let rawValue: UInt64

    /// Number of bytes in a datagram.
    package static let length = 8

    package init(rawValue: UInt64) { self.rawValue = rawValue }
}
