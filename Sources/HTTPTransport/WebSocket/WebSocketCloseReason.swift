//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a WebSocket connection ended.
package enum WebSocketCloseReason: Error, Hashable, Sendable {
    /// The peer sent a close frame.
    ///
    /// The code is nil if the frame has none. The reason has at most 123 bytes (RFC 6455, section 5.5).
    case closedByPeer(code: UInt16?, reason: String)
    /// This side closed the connection.
    case closedLocally
    /// The connection failed or ended without a close frame. The value describes what happened.
    case connectionLost(String)
    /// Nothing was received for a whole ``WebSocketConfiguration/pingInterval`` after a ping.
    case timedOut
    /// The peer violated RFC 6455. The value describes the violation.
    case protocolViolation(String)
    /// The peer sent a message longer than ``WebSocketConfiguration/maximumMessageLength``.
    case messageTooLong
}

extension WebSocketCloseReason: CustomStringConvertible {
    /// The reason as text for log messages.
    package var description: String {
        switch self {
        case .closedByPeer(let code, let reason):
            "closed by the peer\(code.map { " (\($0)\(reason.isEmpty ? "" : " \(reason)"))" } ?? "")"
        case .closedLocally: "closed"
        case .connectionLost(let what): "connection lost: \(what)"
        case .timedOut: "timed out: no answer to a ping"
        case .protocolViolation(let what): "WebSocket protocol violation: \(what)"
        case .messageTooLong: "the peer sent a message that is too long"
        }
    }
}
