//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import TunnelProtocol

/// What the handlers of a proxy's clients share.
struct ProxyContext {
    let opener: any StreamOpener
    /// For a client to send its request.
    let handshakeTimeout: TimeAmount
    /// What clients must present; nil if the proxy is open.
    let credentials: ProxyCredentials?
    /// Whether SOCKS clients are told that their stream is open before the exit confirms it.
    let isOptimistic: Bool
    let metrics: TunnelMetrics
    let logger: Logger
}
