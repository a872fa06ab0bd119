//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import STUN

/// An address at which a node may be reached by datagrams (RFC 8445, section 5.1.1).
package struct DirectCandidate: Hashable, Sendable {
    /// How the node learned the address. The raw value is part of the protocol.
    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// An address of one of its interfaces.
        case host = 0
        /// The address that a STUN server has seen (RFC 8489).
        case serverReflexive = 1
        /// An address that a router maps to the node (PCP, NAT-PMP), or that the node's owner has configured.
        case mapped = 2
    }

    package var kind: Kind
    package var address: TransportAddress

    package init(_ kind: Kind, _ address: TransportAddress) {
        self.kind = kind
        self.address = address
    }

    /// Maximum number of candidates that a node offers, and that it takes from its peer.
    package static let maximumCount = 16
}
