//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
public import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The state of an entry or exit.
public struct TunnelStatus: Sendable {
    /// A relay in use.
    public struct Relay: Sendable {
        /// The relay's URL.
        public let url: RelayURL
        /// Whether it is connected.
        public let isUp: Bool
        /// Why it is not connected.
        public let error: String?
        /// Shortest round trip of a session through it, in milliseconds; nil if none was measured.
        public fileprivate(set) var roundTrip: Double?
        /// Session packets that were sent through it.
        public fileprivate(set) var sentPackets: UInt64 = 0
        /// Sent packets that were declared lost.
        public fileprivate(set) var lostPackets: UInt64 = 0
        /// Sessions that use it.
        public fileprivate(set) var sessions = 0
        /// Bytes of messages in both directions since the connection is in use.
        public fileprivate(set) var bytes: Int64 = 0
    }

    /// A session, or a peer that speaks plain NIP-74.
    public struct Peer: Sendable {
        /// An npub: the exit's, or the client's identity. The client's key in hex if it has no identity.
        public let name: String
        /// Whether it is a session.
        public let isSession: Bool
        /// Streams that have not ended.
        public let streams: Int
        /// Seconds since it began.
        public let age: Int
    }

    /// Whether an exit is subscribed on a relay, or an entry listens.
    public internal(set) var isReady = false
    /// The relays in use.
    public private(set) var relays: [Relay] = []
    /// The sessions and peers.
    public internal(set) var peers: [Peer] = []
    /// Streams that have not ended.
    public internal(set) var streams = 0

    init() {}

    /// Adds a relay, unless it is there: the connections of several lanes are one relay.
    mutating func add(_ relay: RelayConnection) {
        guard !self.relays.contains(where: { $0.url == relay.url }) else { return }
        self.relays.append(Relay(url: relay.url, isUp: relay.isOpen, error: relay.lastError))
    }

    /// Adds the measurements of a session's path to its relay.
    mutating func add(_ path: PathStatus, of url: RelayURL) {
        guard let index = self.relays.firstIndex(where: { $0.url == url }) else { return }
        self.relays[index].sessions += 1
        self.relays[index].sentPackets += path.sent
        self.relays[index].lostPackets += path.lost
        guard let roundTrip = path.roundTrip.map({ Double($0.nanoseconds) / 1_000_000 }) else { return }
        self.relays[index].roundTrip = min(self.relays[index].roundTrip ?? roundTrip, roundTrip)
    }

    /// Adds the bytes that a connection carried to its relay.
    mutating func add(_ bytes: Int64, of url: RelayURL) {
        guard let index = self.relays.firstIndex(where: { $0.url == url }) else { return }
        self.relays[index].bytes += bytes
    }
}

extension TunnelStatus.Peer {
    /// A client of an exit.
    init<Engine>(_ link: PeerLink<Engine>, identity: PublicKey?, isSession: Bool) {
        self.init(
            name: identity?.npub ?? link.peer.hex,
            isSession: isSession,
            streams: link.streamCount,
            age: Int((NIODeadline.now() - link.startedAt).nanoseconds / 1_000_000_000)
        )
    }
}
