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
    /// Difference between the clocks of this machine and a relay that is not mentioned, in seconds. Exits reject requests
    /// that are older than two minutes.
    private static let tolerableOffset: Int64 = 60
    /// Time after which the warning about a relay's rate limit, or about the clock, is repeated.
    private static let warningInterval: TimeAmount = .minutes(10)

    /// Maximum number of changes of one relay that are logged in ``changeInterval``.
    private static let maximumChanges = 4
    private static let changeInterval: TimeAmount = .minutes(1)

    private let logger: Logger
    weak var delegate: (any RelayLogDelegate)?
    /// Whether a relay was logged as up.
    private var states: [RelayURL: Bool] = [:]
    /// Number of changes of each relay in the current interval.
    private var changes: [RelayURL: (count: Int, since: NIODeadline)] = [:]
    private var warnings: [RelayURL: NIODeadline] = [:]
    private var lastClockWarning: NIODeadline?

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
            self.warnAboutClock(relay)
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

    private func warnAboutClock(_ relay: RelayConnection) {
        guard let offset = relay.clockOffset, abs(offset) > Self.tolerableOffset else { return }
        let now = NIODeadline.now()
        guard self.lastClockWarning.map({ $0 + Self.warningInterval <= now }) ?? true else { return }
        self.lastClockWarning = now
        self.logger.warning(
            "this machine's clock differs from the relay's; peers may reject each other's requests",
            metadata: [
                "relay.url": "\(relay.url)",
                "difference": "\(abs(offset)) s \(offset > 0 ? "behind" : "ahead of") the relay",
                "remedy": "set the clock of this machine; nws doctor compares it with several relays",
            ]
        )
    }

    /// Returns whether a change of a relay is to be logged: the state differs from the one logged last, and the relay does not
    /// change it all the time.
    private func note(_ isUp: Bool, _ url: RelayURL) -> Bool {
        if self.states[url] == nil, self.states.count >= Self.maximumRelays {
            self.states = [:]
            self.changes = [:]
        }
        guard self.states.updateValue(isUp, forKey: url) != isUp else { return false }
        let now = NIODeadline.now()
        var changes = self.changes[url] ?? (count: 0, since: now)
        if changes.since + Self.changeInterval <= now { changes = (0, now) }
        changes.count += 1
        self.changes[url] = changes
        if changes.count == Self.maximumChanges + 1 {
            self.logger.warning(
                "relay connection is unstable; further changes are not logged for up to 1 minute",
                metadata: ["relay.url": "\(url)"]
            )
        }
        return changes.count <= Self.maximumChanges
    }
}
