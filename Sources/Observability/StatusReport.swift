//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A snapshot of what a node is doing, for the status page, the terminal and the metrics.
package struct StatusReport: Codable, Hashable, Sendable {
    /// A relay that the node uses.
    package struct Relay: Codable, Hashable, Sendable {
        /// The relay's URL.
        package var url: String
        /// Whether the node is connected to the relay.
        package var isUp: Bool
        /// The reason why the relay is not connected, if known.
        package var error: String?
        /// The lowest round-trip time of the sessions through the relay, in milliseconds.
        package var roundTrip: Double?
        /// The fraction of sent packets that were lost, from 0 to 1.
        package var loss: Double?
        /// The number of sessions that use the relay.
        package var sessions: Int
        /// Bytes of messages sent and received by the connections to the relay, across reconnects. Unused connections
        /// are removed, which lowers the value.
        package var bytes: Int64?
        /// Events per second to which the relay limits the node, as measured; nil if it does not.
        package var limitedRate: Double?
        /// Bytes of messages sent and received in the last second.
        package internal(set) var rate: Double?

        /// Creates a relay's part of a report.
        package init(
            url: String,
            isUp: Bool,
            error: String?,
            roundTrip: Double?,
            loss: Double?,
            sessions: Int,
            bytes: Int64? = nil,
            limitedRate: Double? = nil
        ) {
            self.url = url
            self.isUp = isUp
            self.error = error
            self.roundTrip = roundTrip
            self.loss = loss
            self.sessions = sessions
            self.bytes = bytes
            self.limitedRate = limitedRate
        }
    }

    /// A session, or a peer that uses plain NIP-74.
    package struct Session: Codable, Hashable, Sendable {
        /// The peer's key. At an entry it is the exit's npub. At an exit it is the npub of the client's identity, or,
        /// without one, the client's key in hex.
        package var peer: String
        /// The protocol: `session`, or `nip74` for plain NIP-74.
        package var `protocol`: String
        /// The number of open streams.
        package var streams: Int
        /// The age of the session in seconds.
        package var age: Int
        /// At an exit, the client's name in the access list. At an entry, the alias of the exit. Nil if there is none.
        package var device: String?
        /// The direct path; nil if there is none.
        package var direct: DirectPath?
        /// Why a session has no direct path; nil if it has one, and with plain NIP-74.
        package var reasonForRelays: String?

        package init(peer: String, device: String? = nil, `protocol`: String, streams: Int, age: Int) {
            self.peer = peer
            self.device = device
            self.protocol = `protocol`
            self.streams = streams
            self.age = age
        }
    }

    /// The direct path of a session.
    package struct DirectPath: Codable, Hashable, Sendable {
        /// The peer's address and port.
        package var address: String
        /// The round-trip time in milliseconds.
        package var roundTrip: Double?
        /// The fraction of sent packets that were lost, from 0 to 1.
        package var loss: Double?
        /// Bytes of the session's datagrams in both directions.
        package var bytes: Int64
        /// Bytes sent and received in the last second.
        package internal(set) var rate: Double?

        package init(address: String, roundTrip: Double?, loss: Double?, bytes: Int64) {
            self.address = address
            self.roundTrip = roundTrip
            self.loss = loss
            self.bytes = bytes
        }
    }

    /// A warning or an error that the node logged.
    package struct Problem: Codable, Hashable, Sendable {
        /// The time in seconds since 1970.
        package var time: Double
        /// The message.
        package var text: String
        /// What the message is about, by name, for example `relay.url`. Nil in reports of older versions.
        package var details: [String: String]?
        /// How often the message was logged in a row; the time is that of the last one.
        package var count: Int

        /// Creates a problem's part of a report.
        package init(time: Double, text: String, details: [String: String]? = nil, count: Int = 1) {
            self.time = time
            self.text = text
            self.details = details
            self.count = count
        }
    }

    /// A service of an exit.
    package struct Service: Codable, Hashable, Sendable {
        /// The port that clients use. Nil for the service of all ports that have no entry in this list.
        package var port: Int?
        /// The address of the service.
        package var target: String

        /// Creates a service's part of a report.
        package init(port: Int?, target: String) {
            self.port = port
            self.target = target
        }
    }

    /// What a relay has done since it started.
    package struct RelayWork: Codable, Hashable, Sendable {
        /// Events that clients sent and the relay accepted.
        package var accepted: Int64
        /// Events that the relay sent to subscriptions.
        package var delivered: Int64
        /// Open subscriptions.
        package var subscriptions: Int
        /// Stored events.
        package var stored: Int
        /// Rejected messages, events and subscriptions, by reason.
        package var rejections: [String: Int64]

        /// Creates a relay's part of a report.
        package init(
            accepted: Int64,
            delivered: Int64,
            subscriptions: Int,
            stored: Int,
            rejections: [String: Int64]
        ) {
            self.accepted = accepted
            self.delivered = delivered
            self.subscriptions = subscriptions
            self.stored = stored
            self.rejections = rejections
        }
    }

    /// The node's role, such as entry, exit or relay.
    package var role: String
    /// The version of the program.
    package var version: String
    /// The exit's `.nostr` name, or the address that an entry or relay listens on.
    package var name: String
    /// When the process started, in seconds since 1970.
    package var startedAt: Double
    /// Whether the node is ready to serve.
    package var isReady: Bool
    /// The relays that an entry or exit uses.
    package var relays: [Relay]
    /// The sessions with the most streams, at most ``maximumSessions``.
    package var sessions: [Session]
    /// The number of sessions that ``sessions`` does not list.
    package var moreSessions: Int
    /// The number of open streams.
    package var streams: Int
    /// The number of open client connections of a relay; nil for other roles.
    package var connections: Int?
    /// The work of a relay; nil for other roles.
    package var work: RelayWork?
    /// The services of an exit, by port; empty for other roles.
    package var services: [Service]
    /// Bytes sent since the process started: stream data, or messages to clients of a relay.
    package var sentBytes: Int64
    /// Bytes received since the process started: stream data, or messages from clients of a relay.
    package var receivedBytes: Int64
    /// Bytes sent per second in each of the last 300 seconds, oldest first.
    package var sentRates: [Double]
    /// Bytes received per second in each of the last 300 seconds, oldest first.
    package var receivedRates: [Double]
    /// The most recent problems, oldest first.
    package var problems: [Problem]

    /// Creates the report of a node that is not ready and has no traffic.
    package init(role: String, version: String, name: String, startedAt: Double) {
        self.role = role
        self.version = version
        self.name = name
        self.startedAt = startedAt
        self.isReady = false
        self.relays = []
        self.sessions = []
        self.moreSessions = 0
        self.streams = 0
        self.services = []
        self.sentBytes = 0
        self.receivedBytes = 0
        self.sentRates = []
        self.receivedRates = []
        self.problems = []
    }

    /// Maximum number of listed sessions.
    package static let maximumSessions = 50

    /// The report's values as metrics, which are served in addition to the registry's.
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
