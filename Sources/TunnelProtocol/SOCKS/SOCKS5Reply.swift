//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What a SOCKS5 server answers to a request (RFC 1928, section 6).
public enum SOCKS5Reply: UInt8, Hashable, Sendable {
    case succeeded = 0
    case generalFailure = 1
    case notAllowed = 2
    case networkUnreachable = 3
    case hostUnreachable = 4
    case connectionRefused = 5
    case timedOut = 6
    case commandNotSupported = 7
    case addressTypeNotSupported = 8

    /// The reply's bytes. The bound address is 0.0.0.0:0: there is none that would mean anything to the client.
    public var encoded: [UInt8] { [5, self.rawValue, 0, 1, 0, 0, 0, 0, 0, 0] }

    /// The reply that says best why a stream did not open.
    public init(_ end: StreamEnd) {
        switch end {
        case .refused: self = .connectionRefused
        case .unreachable, .noRelay, .relayLost, .relayRefused, .exitSilent, .sessionRequired, .peerLost:
            self = .hostUnreachable
        case .notAllowed: self = .notAllowed
        case .timedOut, .idle: self = .timedOut
        case .readerTooSlow, .connectionReset, .protocolViolation, .tooManyStreams, .shuttingDown, .clockSkew,
            .unknownSession, .tooManySessions, .replayed, .cancelled:
            self = .generalFailure
        }
    }
}
