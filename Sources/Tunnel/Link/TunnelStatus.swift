//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
public import Nostr
import TunnelProtocol

/// What an entry or exit is doing.
public struct TunnelStatus: Sendable {
    /// A relay in use.
    public struct Relay: Sendable {
        public let url: RelayURL
        public internal(set) var isUp: Bool
        /// Why it is not up.
        public internal(set) var error: String?
        /// Fastest round trip of a session through it, in milliseconds.
        public internal(set) var roundTrip: Double?
        public internal(set) var sentPackets: UInt64 = 0
        public internal(set) var lostPackets: UInt64 = 0
        public internal(set) var sessions = 0
        /// Of messages, both ways, since the connection was made.
        public internal(set) var bytes: Int64 = 0
    }

    /// A session, or a peer that speaks plain NIP-74.
    public struct Peer: Sendable {
        /// An npub: the exit's, or a client's identity; else the client's key in hex.
        public let name: String
        public let isSession: Bool
        public let streams: Int
        /// Seconds since it began.
        public let age: Int
    }

    /// Whether it does what it is for: an exit is subscribed on a relay, an entry listens.
    public internal(set) var isReady = false
    public internal(set) var relays: [Relay] = []
    public internal(set) var peers: [Peer] = []
    public internal(set) var streams = 0

    init() {}

    /// Adds what a session knows of the relay behind one of its paths.
    mutating func add(_ roundTrip: Double?, sent: UInt64, lost: UInt64, url: RelayURL) {
        guard let index = self.relays.firstIndex(where: { $0.url == url }) else { return }
        self.relays[index].sessions += 1
        self.relays[index].sentPackets += sent
        self.relays[index].lostPackets += lost
        if let roundTrip {
            self.relays[index].roundTrip = min(self.relays[index].roundTrip ?? roundTrip, roundTrip)
        }
    }

    /// Adds what a connection carried; those of several lanes are one relay's.
    mutating func add(_ bytes: Int64, of url: RelayURL) {
        guard let index = self.relays.firstIndex(where: { $0.url == url }) else { return }
        self.relays[index].bytes += bytes
    }

    mutating func add(_ link: PeerLink, url: (PathID) -> RelayURL?) {
        for path in link.dialect.pathStatus {
            guard let url = url(path.path) else { continue }
            let roundTrip = path.roundTrip.map { Double($0.nanoseconds) / 1_000_000 }
            self.add(roundTrip, sent: path.sent, lost: path.lost, url: url)
        }
    }
}
