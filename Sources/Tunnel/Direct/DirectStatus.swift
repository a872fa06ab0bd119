//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Whether a session has a direct path, or why it has none.
public enum DirectStatus: Hashable, Sendable {
    /// Datagrams are exchanged with the peer without a relay.
    case path(Path)
    /// There is no direct path, so relays carry the session.
    case none(Reason)

    /// A direct path.
    public struct Path: Hashable, Sendable {
        /// The peer's address and port.
        public let address: String
        /// The smoothed round-trip time in milliseconds; nil if it was not measured yet.
        public let roundTrip: Double?
        /// Number of packets that were sent at this address.
        public let sentPackets: UInt64
        /// Number of them that were declared lost.
        public let lostPackets: UInt64
        /// Number of bytes that the session has sent and received in datagrams.
        public let bytes: Int64
    }

    /// Why there is no direct path. The raw value is a sentence for people.
    public enum Reason: String, Hashable, Sendable, CaseIterable {
        /// This node does not take part.
        case off = "direct paths are off here (--direct off, or relays are reached through a proxy)"
        /// The peer does not take part.
        case peer = "the other side has turned direct paths off, or does not know them"
        /// The streams must not be linked with others.
        case isolated = "requests with credentials for isolation use relays only"
        /// The nodes do not trust each other.
        case stranger = "direct paths are only for devices and exits that trust each other"
        /// This node has no socket.
        case noSocket = "no UDP socket could be opened"
        /// The peer has sent no addresses.
        case waiting = "the other side has not sent its addresses yet"
        /// The peer's addresses are being checked.
        case looking = "looking for a direct path"
        /// None of the peer's addresses has answered, and the NAT of this node has an endpoint-dependent mapping (RFC 4787).
        case symmetric =
            "no address of the other side answers; the NAT here gives every destination another port"
        /// None of the peer's addresses has answered.
        case unanswered = "no address of the other side answers; a firewall or NAT on the way may block UDP"
    }
}
