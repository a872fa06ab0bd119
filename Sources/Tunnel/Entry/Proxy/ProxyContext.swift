//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// The state that the handlers of proxy clients share.
struct ProxyContext {
    let opener: any StreamOpener
    /// Timeout for a client to send its request.
    let handshakeTimeout: TimeAmount
    /// The credentials that clients must send; nil if the proxy requires none.
    let credentials: ProxyCredentials?
    /// Whether SOCKS clients are told that their stream is open before the exit confirms it.
    let isOptimistic: Bool
    let metrics: TunnelMetrics
    let logger: LimitedLogger
}
