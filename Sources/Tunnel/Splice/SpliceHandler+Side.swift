//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

extension SpliceHandler {
    /// Which side of the tunnel the socket is on.
    enum Side {
        /// A client. If it closes its connection, the stream is cancelled; many clients close before the end of TLS.
        case client
        /// A service. If it closes its connection before the stream has ended, the stream is reset.
        case service
        /// A service for which the exit terminates TLS. After it has closed its connection, data of the client is
        /// dropped until the client ends its side.
        case serviceBehindTLS

        /// The reason that is reported if the socket closes early.
        var breakReason: StreamEnd {
            switch self {
            case .client: .cancelled
            case .service, .serviceBehindTLS: .connectionReset
            }
        }
    }
}
