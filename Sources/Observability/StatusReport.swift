//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What a node is doing, for the page, the terminal and the metrics.
public struct StatusReport: Codable, Hashable, Sendable {
    /// A relay that the node uses.
    public struct Relay: Codable, Hashable, Sendable {
        public var url: String
        public var isUp: Bool
        /// Why it is not up.
        public var error: String?
        /// Fastest round trip of a session through it, in milliseconds.
        public var roundTrip: Double?
        /// Share of packets that were lost.
        public var loss: Double?
        /// Sessions that go through it.
        public var sessions: Int
        /// Bytes of messages with it, both ways, since the connection was made.
        public var bytes: Int64?
        /// Of them in the last second.
        public internal(set) var rate: Double?

        public init(
            url: String,
            isUp: Bool,
            error: String?,
            roundTrip: Double?,
            loss: Double?,
            sessions: Int,
            bytes: Int64? = nil
        ) {
            self.url = url
            self.isUp = isUp
            self.error = error
            self.roundTrip = roundTrip
            self.loss = loss
            self.sessions = sessions
            self.bytes = bytes
        }
    }

    /// A session, or a peer that speaks plain NIP-74.
    public struct Session: Codable, Hashable, Sendable {
        /// The exit's npub at an entry; at an exit the client's identity if it has one, else its session key.
        public var peer: String
        /// session or nip74.
        public var `protocol`: String
        public var streams: Int
        /// Seconds since it began.
        public var age: Int

        public init(peer: String, `protocol`: String, streams: Int, age: Int) {
            self.peer = peer
            self.protocol = `protocol`
            self.streams = streams
            self.age = age
        }
    }

    /// Something that went wrong.
    public struct Problem: Codable, Hashable, Sendable {
        /// Seconds since 1970.
        public var time: Double
        public var text: String

        public init(time: Double, text: String) {
            self.time = time
            self.text = text
        }
    }

    public var role: String
    public var version: String
    /// The exit's name, or where an entry or relay listens.
    public var name: String
    /// Seconds since 1970.
    public var startedAt: Double
    public var isReady: Bool
    public var relays: [Relay]
    public var sessions: [Session]
    /// Sessions beyond those that are listed.
    public var moreSessions: Int
    public var streams: Int
    /// Connections of a relay's clients.
    public var connections: Int?
    public var sentBytes: Int64
    public var receivedBytes: Int64
    /// Bytes per second, oldest first: the last five minutes.
    public var sentRates: [Double]
    public var receivedRates: [Double]
    public var problems: [Problem]

    public init(role: String, version: String, name: String, startedAt: Double) {
        self.role = role
        self.version = version
        self.name = name
        self.startedAt = startedAt
        self.isReady = false
        self.relays = []
        self.sessions = []
        self.moreSessions = 0
        self.streams = 0
        self.sentBytes = 0
        self.receivedBytes = 0
        self.sentRates = []
        self.receivedRates = []
        self.problems = []
    }

    /// Most sessions that are listed.
    public static let maximumSessions = 50

    /// The numbers that go with the counters.
    var samples: [PrometheusText.Sample] {
        var samples = [
            PrometheusText.Sample("nws_build_info", [("version", self.version), ("role", self.role)], value: 1),
            PrometheusText.Sample("nws_process_start_time_seconds", value: self.startedAt),
        ]
        if let connections {
            samples.append(PrometheusText.Sample("nws_relay_connections", value: Double(connections)))
        } else {
            samples.append(
                PrometheusText.Sample("nws_tunnel_sessions", value: Double(self.sessions.count + self.moreSessions))
            )
            samples.append(PrometheusText.Sample("nws_tunnel_streams", value: Double(self.streams)))
        }
        for relay in self.relays {
            let labels = [("relay", relay.url)]
            samples.append(PrometheusText.Sample("nws_relay_path_up", labels, value: relay.isUp ? 1 : 0))
            if let roundTrip = relay.roundTrip {
                samples.append(
                    PrometheusText.Sample("nws_relay_path_round_trip_seconds", labels, value: roundTrip / 1_000)
                )
            }
            if let loss = relay.loss {
                samples.append(PrometheusText.Sample("nws_relay_path_lost_packets_ratio", labels, value: loss))
            }
        }
        return samples
    }
}
