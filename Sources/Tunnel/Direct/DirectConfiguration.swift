//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Nostr

/// Direct paths: with whom datagrams are exchanged without a relay, and where they are received.
public struct DirectConfiguration: Hashable, Sendable {
    /// With whom a node exchanges addresses. Both nodes learn the other's.
    public enum Choice: String, Sendable, CaseIterable {
        /// There are no direct paths, and no UDP socket is opened.
        case off
        /// An exit with clients that have proven an identity on its access list, and an entry with exits for which it has an
        /// identity.
        case trusted
        /// With every peer of a session.
        case on
    }

    /// With whom addresses are exchanged.
    public var choice = Choice.trusted
    /// The UDP port to listen on; 0 for any.
    public var port = 0
    /// Addresses and ports at which datagrams reach this node, for example because a router forwards them. They are offered in
    /// addition to those of the interfaces.
    public var addresses: [DirectAddress] = []

    /// Whether the router is asked to send datagrams for one of its ports to this node (PCP, RFC 6887, or NAT-PMP, RFC 6886).
    public var mapsPort = true
    /// STUN servers that are asked for the address under which this node is seen, in addition to the relays that answer such
    /// requests.
    public var stunServers: [STUNServerAddress] = []

    /// Public STUN servers. They are asked if a session uses one of ``publicRelays`` and none of its relays offers STUN.
    package var publicSTUNServers: [STUNServerAddress] = []
    package var publicRelays: Set<RelayURL> = []

    /// The address of a STUN server.
    public struct STUNServerAddress: Hashable, Sendable {
        /// A host name or an IP address.
        public var host: String
        /// The UDP port.
        public var port: UInt16

        /// Creates an address.
        public init(host: String, port: UInt16) {
            self.host = host
            self.port = port
        }
    }

    /// Creates a configuration with direct paths between peers that trust each other.
    public init() {}
}
