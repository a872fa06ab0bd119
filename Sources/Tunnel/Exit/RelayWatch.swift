//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NostrClient

/// Receives the changes of the relays by which clients reach an exit.
protocol RelayWatchDelegate: AnyObject {
    /// A relay has accepted the exit's subscription.
    func relayIsSubscribed(_ relay: RelayConnection)
    func relayIsDisconnected(_ relay: RelayConnection)
    /// The relays of the exit's long-term key; nil while the exit shuts down.
    var watchedRelays: [RelayConnection]? { get }
}

/// Watches the relays of an exit's long-term key. It logs their changes, warns if no relay is reachable, and reports
/// the first relay that has accepted the subscription.
final class RelayWatch: RelayConnectionDelegate {
    private let lane: RelayLane
    private let logger: Logger
    private let log: RelayLog
    /// Succeeds when the first relay has accepted the exit's subscription.
    private let firstRelay: EventLoopPromise<Void>
    private var hasRelay = false
    /// Whether the warning that no relay is reachable was logged.
    private var isUnreachable = false
    private var lastWarning: NIODeadline?
    /// Time after which the warning may be repeated.
    private static let warningInterval: TimeAmount = .minutes(1)
    weak var delegate: (any RelayWatchDelegate)?

    /// - Parameter lane: The connections of the long-term key. Of other connections, only rate limits are logged.
    init(lane: RelayLane, firstRelay: EventLoopPromise<Void>, logger: Logger) {
        self.lane = lane
        self.firstRelay = firstRelay
        self.logger = logger
        self.log = RelayLog(logger: logger)
    }

    /// Fails the future of the first relay, because the exit is stopped.
    func stop() { if !self.hasRelay { self.firstRelay.fail(RelayConnectionError.stopped) } }

    func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
        // Sessions send their events on other connections.
        if case .rateLimited = state { return self.log.log(state, of: relay) }
        guard relay.lane == self.lane else { return }
        self.log.log(state, of: relay)
        switch state {
        case .connected: self.isUnreachable = false
        case .rateLimited: break
        case .subscribed:
            guard relay.subscriptionIsAccepted else { return }
            if !self.hasRelay {
                self.hasRelay = true
                self.firstRelay.succeed()
            }
            self.delegate?.relayIsSubscribed(relay)
        case .disconnected:
            self.delegate?.relayIsDisconnected(relay)
            self.warnIfUnreachable()
        }
    }

    /// Logs a warning if no relay is reachable. The warning is not repeated until a relay has connected.
    private func warnIfUnreachable() {
        guard !self.isUnreachable, let relays = self.delegate?.watchedRelays, relays.allSatisfy(\.isUnreachable) else {
            return
        }
        self.isUnreachable = true
        // A relay may connect and disconnect all the time.
        let now = NIODeadline.now()
        guard self.lastWarning.map({ $0 + Self.warningInterval <= now }) ?? true else { return }
        self.lastWarning = now
        self.logger.warning(
            "no relay is reachable, so no client can reach this exit",
            metadata: ["relays": "\(relays.map { "\($0.url): \($0.lastError ?? "")" }.joined(separator: "; "))"]
        )
    }
}
