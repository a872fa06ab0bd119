//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NostrClient

/// Logs when relays connect and disconnect.
final class RelayLog: RelayConnectionDelegate {
    private let logger: Logger
    /// Called after a relay connected.
    var onConnect: (RelayConnection) -> Void = { _ in }

    init(logger: Logger) {
        self.logger = logger
    }

    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
        switch state {
        case .connected:
            self.logger.info("relay up", metadata: ["relay.url": "\(relay.url)"])
            self.onConnect(relay)
        case .disconnected(let reason):
            self.logger.info("relay down", metadata: ["relay.url": "\(relay.url)", "reason": "\(reason)"])
        case .subscribed: break
        }
    }
}
