//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import TunnelProtocol

/// The counters of an entry or exit. Also logs, at a limited rate, when a limit is reached.
struct TunnelMetrics: Sendable {
    let bytesSent = Counter(label: "nws_tunnel_sent_bytes_total")
    let bytesReceived = Counter(label: "nws_tunnel_received_bytes_total")
    let streamsOpened = Counter(label: "nws_tunnel_streams_opened_total")
    let streamsForbidden = Counter(label: "nws_exit_streams_forbidden_total")
    let sessionsOpened = Counter(label: "nws_tunnel_sessions_opened_total")
    let sessionsRefused = Counter(label: "nws_tunnel_sessions_refused_total")

    /// Why an event, a frame of a packet or a reverse connection was rejected.
    enum Rejection: String, CaseIterable {
        case wrongAuthor = "wrong_author"
        case duplicate
        case invalidID = "invalid_id"
        case invalidSignature = "invalid_signature"
        case undecryptable
        case tooManyPeers = "too_many_peers"
        case tooManyHandshakes = "too_many_handshakes"
        case invalidAnswer = "invalid_answer"
        case invalidIdentity = "invalid_identity"
        case unknownReverseStream = "unknown_reverse_stream"
        /// A datagram whose connection ID belongs to no session.
        case unknownConnection = "unknown_connection"
        case unexpectedSTUN = "unexpected_stun"
        case checkRateLimited = "check_rate_limited"
        case sourceNotAllowed = "source_not_allowed"
        /// A message without a valid proof, for an exit with an access list.
        case unauthorized
    }

    private let ends = counters("nws_tunnel_streams_ended_total", "reason", of: StreamEnd.self)
    private let completed = Counter(label: "nws_tunnel_streams_ended_total", dimensions: [("reason", "complete")])
    private let reports = counters("nws_tunnel_messages_reported_total", "what", of: ProtocolReport.self)
    private let rejections = counters("nws_tunnel_events_rejected_total", "reason", of: Rejection.self)
    private let handshakeFailures = counters(
        "nws_entry_handshakes_failed_total",
        "reason",
        of: ProxyHandshakeFailure.self
    )
    // The raw values are texts for the log.
    private let reachedLimits = Dictionary(
        uniqueKeysWithValues: LimitLog.Limit.allCases.map {
            ($0, Counter(label: "nws_limits_reached_total", dimensions: [("limit", "\($0)")]))
        }
    )
    private let limits: LimitLog

    init(logger: Logger) { self.limits = LimitLog(logger: logger) }

    /// Creates a counter for each case, with the case as the value of a dimension.
    private static func counters<Case: CaseIterable & Hashable & RawRepresentable<String>>(
        _ label: String,
        _ dimension: String,
        of cases: Case.Type
    ) -> [Case: Counter] {
        Dictionary(
            uniqueKeysWithValues: cases.allCases.map {
                ($0, Counter(label: label, dimensions: [(dimension, $0.rawValue)]))
            }
        )
    }

    func ended(_ reason: StreamEnd?) {
        if let reason { self.ends[reason]?.increment() } else { self.completed.increment() }
    }

    /// Counts and logs that a limit was reached.
    func reached(_ limit: LimitLog.Limit) {
        self.reachedLimits[limit]?.increment()
        self.limits.reached(limit)
    }

    func reported(_ report: ProtocolReport) {
        self.reports[report]?.increment()
        if report == .tooManyStreams { self.reached(.streams) }
    }

    func rejected(_ reason: Rejection) {
        self.rejections[reason]?.increment()
        switch reason {
        case .tooManyPeers: self.reached(.plainClients)
        case .tooManyHandshakes: self.reached(.handshakes)
        case .wrongAuthor, .duplicate, .invalidID, .invalidSignature, .undecryptable,
            .invalidAnswer, .invalidIdentity, .unknownReverseStream, .unknownConnection, .unexpectedSTUN,
            .checkRateLimited, .sourceNotAllowed, .unauthorized:
            break
        }
    }

    func refusedSession(_ reason: StreamEnd) {
        self.sessionsRefused.increment()
        if reason == .tooManySessions { self.reached(.sessions) }
    }

    func handshakeFailed(_ failure: ProxyHandshakeFailure) {
        self.handshakeFailures[failure]?.increment()
    }
}
