//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

extension PeerLink where Engine == SessionStateMachine {
    /// Whether packets on the direct path were not acknowledged in time. It is asked for each packet, so it must not copy the
    /// engine, as a read from another type would.
    var suspectsDirectPath: Bool { self.engine.suspectsDirectPath }
}
