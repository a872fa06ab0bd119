//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Receives what happens on the relays of an exit.
protocol ExitRelaysDelegate: AnyObject {
    /// A message for the client's key. Its id and signature are not verified.
    func exitRelays(_ relays: ExitRelays, didReceive event: Event, for key: PublicKey, on relay: RelayConnection)
    /// A relay delivers what the exit sends, from now on.
    func exitRelays(_ relays: ExitRelays, didBecomeReady path: PathID, on relay: RelayConnection)
    /// A relay lost its connection.
    func exitRelays(_ relays: ExitRelays, didLose path: PathID)
    /// The send buffer of a relay ran full (false) or drained (true).
    func exitRelays(_ relays: ExitRelays, didChangeWritabilityOf path: PathID, to isWritable: Bool)
    /// The exit's published list arrived, or a relay has none.
    func exitRelaysDidReceiveList(_ relays: ExitRelays)
}

/// The relays by which an entry reaches one exit: those of its name, and those of the list that it publishes (NIP-65).
/// They are subscribed to the client's key.
final class ExitRelays {
    /// Most relays of a name, its list and a session together.
    private static let maximumRelays = 2 * EntryConfiguration.maximumRelaysPerName

    private let address: ExitAddress
    private let clientKey: PublicKey
    private let lane: RelayLane
    /// For relays that the exit names later.
    private let laterPolicy: DialPolicy
    private let context: EntryContext
    weak var delegate: (any ExitRelaysDelegate)?
    private var paths = ExitPaths()
    private var list: RelayListQuery?
    private var isReleased = false
    /// Whether relays are asked for messages that were missed. Sessions retransmit what was lost; plain NIP-74 has to fetch
    /// it.
    var catchesUp = true

    /// - Parameter policy: For the relays of the address.
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
        self.laterPolicy = policy == .configured ? context.namedPolicy : policy
        self.context = context
    }

    var all: [RelayConnection] { self.paths.relays }
    /// Ready paths with their relays, best first.
    var ready: [(path: PathID, relay: RelayConnection)] { self.paths.ready }
    /// Whether every relay failed.
    var isUnreachable: Bool { self.paths.isUnreachable }
    /// Why each relay cannot be used.
    var problems: [String] { self.paths.problems }
    /// Whether the exit published a list of relays.
    var hasList: Bool { self.paths.hasListed }

    /// What the relays mean to a negotiation.
    ///
    /// - Parameter isNeeded: A stream waits, or the exit is to be measured.
    func situation(isNeeded: Bool) -> Negotiation.Situation {
        Negotiation.Situation(
            isNeeded: isNeeded,
            hasReadyRelay: !self.paths.ready.isEmpty,
            isConnecting: self.paths.isConnecting,
            isAwaitingList: self.list?.isPending ?? false,
            lacksListedRelay: self.paths.hasListed && !self.paths.hasReadyListed
        )
    }

    /// Connects to the relays of the address. Those that the user configured are asked for the exit's list.
    func start(policy: DialPolicy) {
        for url in self.address.relays { self.use(url, policy: policy) }
        guard policy == .configured else { return }
        let query = RelayListQuery(
            of: self.address.publicKey,
            connectTimeout: self.context.configuration.relayPatience,
            answerTimeout: self.context.configuration.relayListTimeout
        ) { [weak self] in self?.receiveList($0) }
        self.list = query
        query.ask(self.paths.relays)
    }

    /// The connection to a relay that the exit names; nil if there are too many.
    func useLater(_ url: RelayURL) -> RelayConnection? {
        guard self.paths.count < Self.maximumRelays else { return self.paths.relay(url) }
        // What the exit names is trusted as little as what a name carries.
        return self.use(url, policy: self.laterPolicy)
    }

    @discardableResult
    private func use(_ url: RelayURL, policy: DialPolicy) -> RelayConnection? {
        if let known = self.paths.relay(url) { return known }
        guard let relay = self.context.use(url, in: self.lane, policy: policy) else { return nil }
        self.paths.append(relay)
        if relay.subscribe(self.clientKey, to: self, catchesUp: self.catchesUp) { self.paths.setReady(relay, true) }
        return relay
    }

    private func receiveList(_ urls: [RelayURL]) {
        guard !self.isReleased else { return }
        for url in urls.prefix(EntryConfiguration.maximumRelaysPerName) where self.useLater(url) != nil {
            self.paths.setListed(url)
        }
        self.delegate?.exitRelaysDidReceiveList(self)
    }

    /// Unsubscribes, and gives the connections back.
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

    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey) {
        guard let path = self.paths.path(of: relay) else { return }
        self.paths.setReady(relay, true)
        self.delegate?.exitRelays(self, didBecomeReady: path, on: relay)
    }

    func relayDidDisconnect(_ relay: RelayConnection) {
        guard let path = self.paths.path(of: relay) else { return }
        self.paths.setReady(relay, false)
        self.delegate?.exitRelays(self, didLose: path)
    }

    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool) {
        guard let path = self.paths.path(of: relay) else { return }
        self.delegate?.exitRelays(self, didChangeWritabilityOf: path, to: isWritable)
    }

    /// The path of a relay; nil if it is not one of these.
    func path(of relay: RelayConnection) -> PathID? { self.paths.path(of: relay) }
}
