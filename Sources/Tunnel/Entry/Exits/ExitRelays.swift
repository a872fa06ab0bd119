//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Receives the events of an exit's relays.
protocol ExitRelaysDelegate: AnyObject {
    /// A message for the client's key was received. Its ID and signature are not verified.
    func exitRelays(_ relays: ExitRelays, didReceive event: Event, for key: PublicKey, on relay: RelayConnection)
    /// A relay delivers the messages of the exit from now on.
    func exitRelays(_ relays: ExitRelays, didBecomeReady path: PathID, on relay: RelayConnection)
    /// The connection to a relay has ended.
    func exitRelays(_ relays: ExitRelays, didLose path: PathID)
    /// The send buffer of a relay became full (false) or has room again (true).
    func exitRelays(_ relays: ExitRelays, didChangeWritabilityOf path: PathID, to isWritable: Bool)
    /// The query for the exit's relay list on a relay has ended, with or without a list.
    func exitRelaysDidReceiveList(_ relays: ExitRelays)
}

/// The relays by which an entry reaches one exit: those in its name, those in its relay list (NIP-65), and those that
/// it adds to a session. The client's key is subscribed to on all of them.
final class ExitRelays {
    /// Maximum number of relays of a name, the relay list and a session together.
    private static let maximumRelays = 2 * EntryConfiguration.maximumRelaysPerName

    private let address: ExitAddress
    private let clientKey: PublicKey
    private let lane: RelayLane
    /// The policy for relays that the exit adds later.
    private let laterPolicy: DialPolicy
    private let context: EntryContext
    weak var delegate: (any ExitRelaysDelegate)?
    private var paths = ExitPaths()
    private var list: RelayListQuery?
    private var isReleased = false
    /// Whether missed messages are requested from relays. Sessions retransmit lost packets, but plain NIP-74 does not.
    var catchesUp = true

    /// - Parameter policy: The policy for the relays of the address.
    init(
        of address: ExitAddress,
        policy: DialPolicy,
        lane: RelayLane,
        clientKey: PublicKey,
        context: EntryContext
    ) {
        self.address = address
        self.clientKey = clientKey
        self.lane = lane
        self.laterPolicy = policy == .untrusted ? .untrusted : context.laterPolicy
        self.context = context
    }

    var all: [RelayConnection] { self.paths.relays }
    /// The ready paths with their relays, in order of preference.
    var ready: [(path: PathID, relay: RelayConnection)] { self.paths.ready }
    /// Whether every relay failed.
    var isUnreachable: Bool { self.paths.isUnreachable }
    /// The reason why each relay cannot be used.
    var problems: [String] { self.paths.problems }
    /// Whether a relay of the exit's relay list is in use.
    var hasList: Bool { self.paths.hasListed }

    /// The state of the relays for a negotiation.
    ///
    /// - Parameter isNeeded: Whether a stream waits or the exit is to be measured.
    func situation(isNeeded: Bool) -> Negotiation.Situation {
        Negotiation.Situation(
            isNeeded: isNeeded,
            hasReadyRelay: !self.paths.ready.isEmpty,
            isConnecting: self.paths.isConnecting,
            isAwaitingList: self.list?.isPending ?? false,
            lacksListedRelay: self.paths.hasListed && !self.paths.hasReadyListed
        )
    }

    /// Connects to the relays of the address. If the user configured them, they are queried for the exit's relay list.
    func start(policy: DialPolicy) {
        for url in self.address.relays { self.use(url, policy: policy) }
        guard policy == .configured else { return }
        let query = RelayListQuery(
            of: self.address.publicKey,
            connectTimeout: self.context.configuration.relayConnectTimeout,
            answerTimeout: self.context.configuration.relayListTimeout
        ) { [weak self] in self?.receiveList($0) }
        self.list = query
        query.ask(self.paths.relays)
    }

    /// Returns the connection to a relay that the exit adds. Nil if there are too many relays or the pool cannot
    /// provide a connection.
    func useAdditional(_ url: RelayURL) -> RelayConnection? {
        guard self.paths.count < Self.maximumRelays else { return self.paths.relay(url) }
        // Relays that the exit adds are trusted no more than relays in a name.
        return self.use(url, policy: self.laterPolicy)
    }

    @discardableResult
    private func use(_ url: RelayURL, policy: DialPolicy) -> RelayConnection? {
        if let known = self.paths.relay(url) { return known }
        guard let relay = self.context.use(url, in: self.lane, policy: policy) else { return nil }
        self.paths.append(relay)
        if relay.subscribe(self.clientKey, to: self, catchesUp: self.catchesUp) || relay.hasRequested(self.clientKey) {
            self.paths.setReady(relay, true)
        }
        return relay
    }

    private func receiveList(_ urls: [RelayURL]) {
        guard !self.isReleased else { return }
        for url in urls.prefix(EntryConfiguration.maximumRelaysPerName) where self.useAdditional(url) != nil {
            self.paths.setListed(url)
        }
        self.delegate?.exitRelaysDidReceiveList(self)
    }

    /// Unsubscribes and releases the connections.
    func release() {
        self.isReleased = true
        for relay in self.paths.relays {
            relay.unsubscribe(self.clientKey)
            self.context.pool.release(relay)
        }
    }
}

extension ExitRelays: RelaySubscriber {
    func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey) {
        self.delegate?.exitRelays(self, didReceive: event, for: key, on: relay)
    }

    /// An answer of the exit comes later than the relay has handled the REQ, so that the offer need not wait for that.
    func relay(_ relay: RelayConnection, didRequest key: PublicKey) {
        if !relay.requiresAuthentication { self.becameReady(relay) }
    }

    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey) { self.becameReady(relay) }

    func relay(_ relay: RelayConnection, didReject key: PublicKey) { self.relayDidDisconnect(relay) }

    private func becameReady(_ relay: RelayConnection) {
        guard let path = self.paths.path(of: relay), !self.paths.isReady(relay) else { return }
        self.paths.setReady(relay, true)
        self.delegate?.exitRelays(self, didBecomeReady: path, on: relay)
    }

    func relayDidDisconnect(_ relay: RelayConnection) {
        guard let path = self.paths.path(of: relay), self.paths.isReady(relay) else { return }
        self.paths.setReady(relay, false)
        self.delegate?.exitRelays(self, didLose: path)
    }

    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool) {
        guard let path = self.paths.path(of: relay) else { return }
        self.delegate?.exitRelays(self, didChangeWritabilityOf: path, to: isWritable)
    }

    /// The path of a relay. Nil if the relay is not in use for this exit.
    func path(of relay: RelayConnection) -> PathID? { self.paths.path(of: relay) }
}
