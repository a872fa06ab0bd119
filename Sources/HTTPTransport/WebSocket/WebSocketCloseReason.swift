//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a WebSocket connection ended.
public enum WebSocketCloseReason: Error, Hashable, Sendable {
    /// The other side sent a close frame; its code and the length-limited reason.
    case closedByPeer(code: UInt16?, reason: String)
    /// This side closed.
    case closedLocally
    /// The connection broke: reset, or closed without a close frame.
    case connectionLost(String)
    /// Nothing came for two ping intervals.
    case timedOut
    /// The other side broke RFC 6455.
    case protocolViolation(String)
    /// A message was longer than ``WebSocketConfiguration/maximumMessageLength``.
    case messageTooLong
}

extension WebSocketCloseReason: CustomStringConvertible {
    public var description: String {
        switch self {
        case .closedByPeer(let code, let reason):
            "closed by the other side\(code.map { " (\($0)\(reason.isEmpty ? "" : " \(reason)"))" } ?? "")"
        case .closedLocally: "closed"
        case .connectionLost(let what): "connection lost: \(what)"
        case .timedOut: "no answer to pings"
        case .protocolViolation(let what): "WebSocket protocol violation: \(what)"
        case .messageTooLong: "message too long"
        }
    }
}
