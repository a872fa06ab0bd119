//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The reason why a stream ended before all data was transferred.
public enum StreamEnd: String, Hashable, Sendable, CaseIterable {
    /// The target refused the exit's connection.
    case refused
    /// The exit cannot reach the target.
    case unreachable
    /// The exit does not offer the service, its rules deny the target, or the client's key has no permission.
    case notAllowed = "not-allowed"
    /// The exit's connection to the target timed out.
    case timedOut = "timed-out"
    /// No data was transferred for longer than the idle timeout.
    case idle
    /// The reader is too slow: a receive buffer limit was exceeded.
    case readerTooSlow = "reader-too-slow"
    /// A connection at either end was reset.
    case connectionReset = "connection-reset"
    /// The peer violated the protocol.
    case protocolViolation = "protocol-violation"
    /// The limit on open streams was reached.
    case tooManyStreams = "too-many-streams"
    /// The connection to the relay that carried the stream was lost. Data may be missing.
    case relayLost = "relay-lost"
    /// The relay rejected messages of the stream.
    case relayRefused = "relay-refused"
    /// No relay of the exit is reachable, or none accepted the request.
    case noRelay = "no-relay"
    /// The exit does not answer.
    case exitSilent = "exit-silent"
    /// The exit rejected the date of the request.
    case clockSkew = "clock-skew"
    /// A node is shutting down.
    case shuttingDown = "shutting-down"
    /// The peer sent nothing for too long.
    case peerLost = "peer-lost"
    /// The exit does not know the session, for example because it restarted.
    case unknownSession = "unknown-session"
    /// The exit did not accept a session, and plain NIP-74 is not allowed with it.
    case sessionRequired = "session-required"
    /// The exit has reached its limit on sessions.
    case tooManySessions = "too-many-sessions"
    /// The request was served before, or cannot be recorded. In plain NIP-74 the client is not notified.
    case replayed
    /// The client closed the stream.
    case cancelled
    /// The exit does not speak a version of the session protocol that the client offered.
    case unsupportedVersion = "unsupported-version"
    /// This client's authorization was revoked.
    case revoked
    /// This client's authorization has expired.
    case expired

    /// The part of the route from the client to its target in which a failure occurred.
    public enum Hop: String, Hashable, Sendable {
        /// The values stand for the name, the entry, a relay, the exit, the exit's service, and an established stream.
        case name, entry, relay, exit, backend, stream
    }

    /// The part of the route that failed.
    public var hop: Hop {
        switch self {
        case .refused, .unreachable, .timedOut: .backend
        case .notAllowed, .exitSilent, .tooManyStreams, .clockSkew, .unknownSession, .sessionRequired, .tooManySessions,
            .peerLost, .replayed, .unsupportedVersion, .revoked, .expired:
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
        case .unreachable: "the exit cannot reach its target"
        case .notAllowed:
            "refused by the exit: it has no service at this port, or does not allow this target or your key"
        case .timedOut: "the exit's connection to its service timed out"
        case .idle: "no data was transferred within the idle timeout"
        case .readerTooSlow: "the reader is too slow: receive buffer limit exceeded"
        case .connectionReset: "the connection was reset"
        case .protocolViolation: "the peer violated the protocol"
        case .tooManyStreams: "too many streams"
        case .relayLost: "the connection to the stream's relay was lost"
        case .relayRefused: "the relay rejected messages of the stream"
        case .noRelay: "no relay of the exit is reachable, or none accepted the request"
        case .exitSilent: "no answer from the exit: it is offline, or this device is not authorized"
        case .clockSkew: "the exit rejected the date of the request; check the clocks of both machines"
        case .shuttingDown: "shutting down"
        case .peerLost: "timed out: no message from the peer"
        case .unknownSession: "the exit does not know the session; it may have restarted"
        case .sessionRequired:
            "no answer from the exit: it is offline, or this device is not authorized, or it serves only plain NIP-74"
        case .tooManySessions: "the exit has too many sessions"
        case .replayed: "the exit rejected the request as a replay"
        case .cancelled: "closed by the client"
        case .unsupportedVersion: "the exit speaks another version of the session protocol; update the older of the two"
        case .revoked: "the exit's owner has revoked the authorization of this device"
        case .expired: "the authorization of this device has expired; ask the exit's owner to renew it"
        }
    }
}

extension StreamEnd {
    /// The reasons in the order of their codes in RESET_STREAM, STOP_SENDING and CONNECTION_CLOSE. Codes start at 1.
    /// The order is part of the protocol and must not change.
    private static let numbered: [StreamEnd] = [
        .refused, .unreachable, .notAllowed, .timedOut, .idle, .readerTooSlow, .connectionReset, .protocolViolation,
        .tooManyStreams, .relayLost, .relayRefused, .noRelay, .exitSilent, .clockSkew, .shuttingDown, .peerLost,
        .unknownSession, .sessionRequired, .tooManySessions, .replayed, .cancelled,
        .unsupportedVersion, .revoked, .expired,
    ]

    /// The code of this reason in session packets.
    var code: UInt64 { UInt64((Self.numbered.firstIndex(of: self) ?? 6) + 1) }

    /// The reason of a code. Unknown codes become ``connectionReset``.
    init(code: UInt64) {
        self = code > 0 && code <= UInt64(Self.numbered.count) ? Self.numbered[Int(code) - 1] : .connectionReset
    }
}
