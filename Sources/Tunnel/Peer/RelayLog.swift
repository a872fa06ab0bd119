//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient

/// Is notified of the relays of a ``RelayLog``.
protocol RelayLogDelegate: AnyObject {
    func relayDidConnect(_ relay: RelayConnection)
    /// Whether any connection to a relay is open.
    func isConnected(to url: RelayURL) -> Bool
}

/// Logs changes of the connections to relays. Several connections to one relay are logged like one.
final class RelayLog: RelayConnectionDelegate {
    /// Maximum number of relays whose state is remembered. Beyond it, all are forgotten and may be logged again.
    private static let maximumRelays = 512
    /// Time after which the warning about a relay's rate limit is repeated.
    private static let warningInterval: TimeAmount = .minutes(10)

    private let logger: Logger
    weak var delegate: (any RelayLogDelegate)?
    /// Whether a relay was logged as up.
    private var states: [RelayURL: Bool] = [:]
    private var warnings: [RelayURL: NIODeadline] = [:]

    init(logger: Logger) {
        self.logger = logger
    }

    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
        self.log(state, of: relay)
        if case .connected = state { self.delegate?.relayDidConnect(relay) }
    }

    /// Logs a change if it concerns the relay and not only one of several connections.
    func log(_ state: RelayConnection.Transition, of relay: RelayConnection) {
        let url = relay.url
        switch state {
        case .connected:
            guard self.note(true, url) else { return }
            self.logger.info("relay up", metadata: ["relay.url": "\(url)"])
        case .disconnected(let reason):
            guard self.delegate?.isConnected(to: url) != true, self.note(false, url) else { return }
            self.logger.info("relay down", metadata: ["relay.url": "\(url)", "reason": "\(reason)"])
        case .rateLimited:
            let now = NIODeadline.now()
            guard self.warnings[url].map({ $0 + Self.warningInterval <= now }) ?? true else { return }
            if self.warnings.count >= Self.maximumRelays { self.warnings = [:] }
            self.warnings[url] = now
            self.logger.warning(
                "relay limits the rate of events, so the tunnel through it is slow",
                metadata: ["relay.url": "\(url)", "remedy": "use a relay without this limit, or your own"]
            )
        case .subscribed: break
        }
    }

    /// Returns whether the state of a relay differs from the one logged last.
    private func note(_ isUp: Bool, _ url: RelayURL) -> Bool {
        if self.states[url] == nil, self.states.count >= Self.maximumRelays { self.states = [:] }
        return self.states.updateValue(isUp, forKey: url) != isUp
    }
}
