//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NostrClient

/// Is notified when a relay of a ``RelayLog`` has connected.
protocol RelayLogDelegate: AnyObject {
    func relayDidConnect(_ relay: RelayConnection)
}

/// Logs when the relays of an entry connect and disconnect.
final class RelayLog: RelayConnectionDelegate {
    private let logger: Logger
    weak var delegate: (any RelayLogDelegate)?

    init(logger: Logger) {
        self.logger = logger
    }

    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
        self.logger.log(state, of: relay)
        if case .connected = state { self.delegate?.relayDidConnect(relay) }
    }
}

extension Logger {
    /// Logs that a relay has connected or disconnected.
    func log(_ state: RelayConnection.Transition, of relay: RelayConnection) {
        switch state {
        case .connected: self.info("relay up", metadata: ["relay.url": "\(relay.url)"])
        case .disconnected(let reason):
            self.info("relay down", metadata: ["relay.url": "\(relay.url)", "reason": "\(reason)"])
        case .subscribed: break
        }
    }
}
