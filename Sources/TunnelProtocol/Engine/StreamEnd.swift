//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a stream ended before everything was carried.
public enum StreamEnd: String, Hashable, Sendable, CaseIterable {
    /// The target refused the connection.
    case refused
    /// The target cannot be reached.
    case unreachable
    /// The exit does not serve that.
    case notAllowed = "not-allowed"
    /// The exit's connection to the target timed out.
    case timedOut = "timed-out"
    /// Neither side sent anything for too long.
    case idle
    /// Whoever reads here lags too far behind.
    case readerTooSlow = "reader-too-slow"
    /// The connection at an end was reset.
    case connectionReset = "connection-reset"
    /// The peer broke the protocol.
    case protocolViolation = "protocol-violation"
    /// A limit of streams was reached.
    case tooManyStreams = "too-many-streams"
    /// The relay that carried the stream was lost, and with it perhaps bytes.
    case relayLost = "relay-lost"
    /// The relay refused messages of the stream for good.
    case relayRefused = "relay-refused"
    /// No relay of the exit could be reached, or none took the request.
    case noRelay = "no-relay"
    /// The exit does not answer.
    case exitSilent = "exit-silent"
    /// The exit refused the date of the request.
    case clockSkew = "clock-skew"
    /// This side is shutting down.
    case shuttingDown = "shutting-down"
    /// Nothing was heard from the other side for too long.
    case peerLost = "peer-lost"
    /// The exit restarted and does not know the session any more.
    case unknownSession = "unknown-session"
    /// The exit does not answer with a session, and nothing else will do.
    case sessionRequired = "session-required"
    /// The exit has as many sessions as it lets be.
    case tooManySessions = "too-many-sessions"
    /// A CONNECT that was dialled before; nobody is told.
    case replayed
    /// Whoever asked for the stream does not want it any more.
    case cancelled

    /// Where something failed.
    public enum Hop: String, Hashable, Sendable {
        case name, entry, relay, exit, backend, stream
    }

    /// Which hop failed.
    public var hop: Hop {
        switch self {
        case .refused, .unreachable, .timedOut: .backend
        case .notAllowed, .exitSilent, .tooManyStreams, .clockSkew, .unknownSession, .sessionRequired, .tooManySessions,
            .peerLost, .replayed:
            .exit
        case .relayLost, .relayRefused, .noRelay: .relay
        case .idle, .readerTooSlow, .connectionReset, .protocolViolation, .shuttingDown, .cancelled: .stream
        }
    }
}

extension StreamEnd: CustomStringConvertible {
    public var description: String {
        switch self {
        case .refused: "the service behind the exit refused the connection"
        case .unreachable: "the exit cannot reach what it is to connect to"
        case .notAllowed: "the exit does not serve that, or not to you"
        case .timedOut: "the exit's connection to its service timed out"
        case .idle: "nothing was sent for too long"
        case .readerTooSlow: "the reader lagged too far behind"
        case .connectionReset: "the connection was reset"
        case .protocolViolation: "the peer broke the protocol"
        case .tooManyStreams: "too many streams"
        case .relayLost: "the relay that carried the stream was lost"
        case .relayRefused: "the relay refused messages of the stream"
        case .noRelay: "no relay of the exit can be reached, or none takes the request"
        case .exitSilent: "the exit does not answer"
        case .clockSkew: "the exit refused the date of the request; check the clocks of both machines"
        case .shuttingDown: "shutting down"
        case .peerLost: "nothing was heard from the other side for too long"
        case .unknownSession: "the exit restarted and does not know the session any more"
        case .sessionRequired: "the exit does not answer with a session, and nothing else is allowed with it"
        case .tooManySessions: "the exit has too many sessions"
        case .replayed: "the request was seen before"
        case .cancelled: "the client went away"
        }
    }
}

extension StreamEnd {
    /// The reasons by their number in RESET_STREAM, STOP_SENDING and CONNECTION_CLOSE, from 1. The order never changes.
    private static let numbered: [StreamEnd] = [
        .refused, .unreachable, .notAllowed, .timedOut, .idle, .readerTooSlow, .connectionReset, .protocolViolation,
        .tooManyStreams, .relayLost, .relayRefused, .noRelay, .exitSilent, .clockSkew, .shuttingDown, .peerLost,
        .unknownSession, .sessionRequired, .tooManySessions, .replayed, .cancelled,
    ]

    /// The number of the reason in session packets.
    var code: UInt64 { UInt64((Self.numbered.firstIndex(of: self) ?? 6) + 1) }

    /// The reason of a number; ``connectionReset`` for those that this version does not know.
    init(code: UInt64) {
        self = code > 0 && code <= UInt64(Self.numbered.count) ? Self.numbered[Int(code) - 1] : .connectionReset
    }
}
