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
        /// The reason why it is not connected.
        public let error: String?
        /// The shortest round-trip time of a session through the relay, in milliseconds; nil if none was measured.
        public fileprivate(set) var roundTrip: Double?
        /// Number of session packets that were sent through the relay.
        public fileprivate(set) var sentPackets: UInt64 = 0
        /// Number of sent packets that were declared lost.
        public fileprivate(set) var lostPackets: UInt64 = 0
        /// Number of sessions that use the relay.
        public fileprivate(set) var sessions = 0
        /// Events per second that are sent to the relay at most, because it has rejected some with `rate-limited:`; nil if it
        /// has not.
        public fileprivate(set) var limitedRate: Double?
        /// Number of message bytes that were sent to and received from the relay while it has been in use.
        public fileprivate(set) var bytes: Int64 = 0
    }

    /// A session, or a peer that uses plain NIP-74.
    public struct Peer: Sendable {
        /// The npub of the exit or of the client's proven identity. If the client has proven no identity, its key in
        /// hex.
        public let name: String
        /// Whether it is a session.
        public let isSession: Bool
        /// Number of streams that have not ended.
        public let streams: Int
        /// Seconds since it began.
        public let age: Int
        /// At an exit, the client's name in the access list. At an entry, the alias of the exit. Nil if there is none.
        public let device: String?
        /// The direct path of a session, or why there is none. Nil with plain NIP-74.
        public let direct: DirectStatus?
    }

    /// A service of an exit.
    public struct Service: Sendable {
        /// The port that clients use. Nil for the service of all ports that have no entry in this list.
        public let port: UInt16?
        /// The address of the service.
        public let target: String
    }

    /// For an exit, whether a relay has accepted its subscription. For an entry, whether it is not stopped.
    public internal(set) var isReady = false
    /// The relays in use.
    public private(set) var relays: [Relay] = []
    /// The sessions and peers.
    public internal(set) var peers: [Peer] = []
    /// Number of streams that have not ended.
    public internal(set) var streams = 0
    /// The services of an exit, by port; empty for an entry.
    public internal(set) var services: [Service] = []

    init() {}

    /// Adds a relay, unless it is already in the list. Connections of several lanes to one relay count as one.
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

    /// Adds the number of bytes of a connection to its relay, and the lowest rate to which the relay limits one.
    mutating func addTraffic(of relay: RelayConnection) {
        guard let index = self.relays.firstIndex(where: { $0.url == relay.url }) else { return }
        self.relays[index].bytes += relay.carriedBytes
        guard let rate = relay.limitedRate else { return }
        self.relays[index].limitedRate = min(rate, self.relays[index].limitedRate ?? rate)
    }
}

extension TunnelStatus.Peer {
    /// A client of an exit.
    init<Engine>(_ link: PeerLink<Engine>, identity: PublicKey?, device: String? = nil, direct: DirectStatus? = nil) {
        self.init(
            name: identity?.npub ?? link.peer.hex,
            isSession: direct != nil,
            streams: link.streamCount,
            age: Int((NIODeadline.now() - link.startedAt).nanoseconds / 1_000_000_000),
            device: device,
            direct: direct
        )
    }
}
