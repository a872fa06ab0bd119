//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Why there is no connection, as far as the time of the next attempt depends on it.
enum ConnectionFailure: Hashable {
    /// A connection ended.
    case ended
    /// Nothing answered: a timeout, no route, or no answer of a name server.
    case unanswered
    /// The port is closed: the relay is not running, or is being restarted.
    case portClosed
    /// Something answered and refused: a handshake failed.
    case refused
    /// The server asked for fewer attempts (HTTP 429 or 503). The time is nil if it named none.
    case limited(retryAfter: TimeAmount?)

    private static let limitingStatuses = [429, 503]

    init(_ error: any Error) {
        self =
            switch error {
            case WebSocketClient.ConnectError.refused(let status, let wait)
            where wait != nil || Self.limitingStatuses.contains(status):
                .limited(retryAfter: wait)
            case let error as IOError where error.errnoCode == ECONNREFUSED: .portClosed
            case is IOError: .unanswered
            case ChannelError.connectTimeout, is HostResolver.ResolutionError: .unanswered
            case WebSocketClient.ConnectError.timedOut: .unanswered
            default: .refused
            }
    }
}
