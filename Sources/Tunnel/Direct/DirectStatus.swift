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
        case off = "direct paths are off here (--direct off, or relays are reached through a proxy)"
        case peer = "the other side has turned direct paths off, or does not know them"
        case isolated = "requests with credentials for isolation use relays only"
        case stranger = "direct paths are only for devices and exits that know each other"
        case noSocket = "no UDP socket could be opened"
        case waiting = "the other side has not sent its addresses yet"
        case looking = "looking for a direct path"
        case symmetric =
            "no address of the other side answers; the NAT here gives every destination another port"
        case unanswered = "no address of the other side answers; a firewall or NAT on the way may block UDP"
    }
}
