//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import TunnelProtocol

/// The counters of an entry or exit.
struct TunnelMetrics: Sendable {
    let bytesSent = Counter(label: "nws_tunnel_sent_bytes_total")
    let bytesReceived = Counter(label: "nws_tunnel_received_bytes_total")
    let streamsOpened = Counter(label: "nws_tunnel_streams_opened_total")
    let streamsForbidden = Counter(label: "nws_exit_streams_forbidden_total")
    let sessionsOpened = Counter(label: "nws_tunnel_sessions_opened_total")
    let sessionsRefused = Counter(label: "nws_tunnel_sessions_refused_total")

    /// The reason why an event was dropped.
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
    }

    private let ends: [StreamEnd: Counter]
    private let completed = Counter(label: "nws_tunnel_streams_ended_total", dimensions: [("reason", "complete")])
    private let reports: [ProtocolReport: Counter]
    private let rejections: [Rejection: Counter]
    private let handshakeFailures: [ProxyHandshakeFailure: Counter]

    private let limits: LimitLog
    private let reachedLimits = Dictionary(
        uniqueKeysWithValues: LimitLog.Limit.allCases.map {
            ($0, Counter(label: "nws_limits_reached_total", dimensions: [("limit", "\($0)")]))
        }
    )

    init(logger: Logger) {
        self.limits = LimitLog(logger: logger)
        self.ends = Dictionary(
            uniqueKeysWithValues: StreamEnd.allCases.map {
                ($0, Counter(label: "nws_tunnel_streams_ended_total", dimensions: [("reason", $0.rawValue)]))
            }
        )
        self.reports = Dictionary(
            uniqueKeysWithValues: ProtocolReport.allCases.map {
                ($0, Counter(label: "nws_tunnel_messages_reported_total", dimensions: [("what", $0.rawValue)]))
            }
        )
        self.rejections = Dictionary(
            uniqueKeysWithValues: Rejection.allCases.map {
                ($0, Counter(label: "nws_tunnel_events_rejected_total", dimensions: [("reason", $0.rawValue)]))
            }
        )
        self.handshakeFailures = Dictionary(
            uniqueKeysWithValues: ProxyHandshakeFailure.allCases.map {
                ($0, Counter(label: "nws_entry_handshakes_failed_total", dimensions: [("reason", $0.rawValue)]))
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
            .invalidAnswer, .invalidIdentity, .unknownReverseStream:
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
