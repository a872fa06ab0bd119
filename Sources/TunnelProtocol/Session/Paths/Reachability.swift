//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Whether packets can reach the peer.
enum Reachability: Hashable, Sendable {
    /// No relay is connected.
    case noRelay
    /// Every connected relay reported that the peer is not subscribed.
    case peerIsAbsent
    /// The peer may receive packets.
    case reachable
}
