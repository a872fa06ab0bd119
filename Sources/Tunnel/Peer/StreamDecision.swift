//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

/// The decision about a stream that the peer opens.
enum StreamDecision {
    case accepted(any StreamEndpoint)
    case refused(StreamEnd)
}
