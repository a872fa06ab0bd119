//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A reply code of a SOCKS5 server (RFC 1928, section 6).
package enum SOCKS5Reply: UInt8, Hashable, Sendable {
    /// The connection is established.
    case succeeded = 0
    /// General failure.
    case generalFailure = 1
    /// The connection is not allowed by the ruleset.
    case notAllowed = 2
    /// The network is unreachable.
    case networkUnreachable = 3
    /// The host is unreachable.
    case hostUnreachable = 4
    /// The target refused the connection.
    case connectionRefused = 5
    /// The connection timed out. RFC 1928 names this code "TTL expired".
    case timedOut = 6
    /// The command is not supported.
    case commandNotSupported = 7
    /// The address type is not supported.
    case addressTypeNotSupported = 8

    /// The bytes of the reply. The bound address is 0.0.0.0:0, because the exit's address has no meaning for the
    /// client.
    package var encoded: [UInt8] { [5, self.rawValue, 0, 1, 0, 0, 0, 0, 0, 0] }

    /// Creates the reply that best describes why a stream was not opened.
    package init(_ end: StreamEnd) {
        switch end {
        case .refused: self = .connectionRefused
        case .unreachable, .noRelay, .relayLost, .relayRefused, .exitSilent, .sessionRequired, .peerLost:
            self = .hostUnreachable
        case .notAllowed, .revoked, .expired: self = .notAllowed
        case .timedOut, .idle: self = .timedOut
        case .readerTooSlow, .connectionReset, .protocolViolation, .tooManyStreams, .shuttingDown, .clockSkew,
            .unknownSession, .tooManySessions, .replayed, .cancelled, .unsupportedVersion:
            self = .generalFailure
        }
    }
}
