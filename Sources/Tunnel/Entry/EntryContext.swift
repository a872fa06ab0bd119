//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The state that all exit peers of an entry share. It must be used on the entry's event loop.
final class EntryContext {
    /// ``Entry/update(_:)`` changes the relays and exits.
    var configuration: EntryConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let pool: RelayPool
    /// The sockets of direct paths; nil without them.
    let sockets: DatagramSockets?
    /// The lane for requests without isolation.
    let lane: RelayLane
    let keys: KeyReserve
    let memory: ExitMemory
    let tickets: TicketStore
    let verifier: EventVerifier
    let reverse: ReverseRequests
    /// The policy for relays in names.
    var namedPolicy: DialPolicy {
        self.configuration.allowsLocalRelays ?? !self.configuration.servesProxy ? .untrustedAllowingLocal : .untrusted
    }
    /// The policy for relays that exits and relay lists name.
    var laterPolicy: DialPolicy {
        self.configuration.allowsLocalRelays ?? false ? .untrustedAllowingLocal : .untrusted
    }
    private var rejectingRelays: Set<RelayURL> = []
    /// When a change of the relays of an exit was last reported.
    private var relayReports: [PublicKey: NIODeadline] = [:]

    private static let spareKeys = 4
    /// The refill is delayed, so that it does not delay the request that used the key.
    private static let refillDelay: TimeAmount = .milliseconds(200)

    init(
        configuration: EntryConfiguration,
        pins: ExitPins,
        pool: RelayPool,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger
    ) {
        var configuration = configuration
        // A proxy for relays hides this node's address, which a direct path would show.
        if configuration.relayClient.proxy != nil { configuration.direct.choice = .off }
        self.sockets = DatagramSockets.make(configuration.direct, loop, metrics, logger)
        self.configuration = configuration
        self.pool = pool
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.lane = RelayLane()
        self.keys = KeyReserve(
            size: Self.spareKeys,
            refillThreshold: Self.spareKeys - 1,
            refillDelay: Self.refillDelay,
            pool: pool,
            lane: self.lane,
            loop: loop
        )
        self.memory = ExitMemory(
            pins,
            choice: configuration.protocolChoice,
            plainMemory: configuration.plainMemory,
            logger: logger
        )
        self.tickets = TicketStore(folder: configuration.ticketFolder)
        self.verifier = EventVerifier(metrics: metrics, logger: logger)
        self.reverse = ReverseRequests(loop: loop)
    }

    /// The configuration of sessions. They declare that this node takes datagrams if it has sockets.
    var session: SessionConfiguration {
        var session = self.configuration.session
        session.usesDatagrams = self.sockets != nil
        return session
    }

    /// Returns the connection to a relay in a lane. Nil if the pool cannot provide one.
    ///
    /// - Parameter policy: Applies only to relays that the user did not configure.
    func use(_ url: RelayURL, in lane: RelayLane, policy: DialPolicy) -> RelayConnection? {
        let isConfigured = self.configuration.relays.contains(url)
        // Use a temporary key with relays that the user did not configure. They could otherwise recognize the entry by
        // its key.
        let key = isConfigured ? self.configuration.relayAuthenticationKey : nil
        let relay = self.pool.use(
            url,
            in: lane,
            policy: isConfigured ? .configured : policy,
            authenticationKey: key ?? .generate()
        )
        if let relay { self.keys.subscribe(on: relay) }
        return relay
    }

    /// Logs a warning, once for each relay, that the relay cannot be used for sessions.
    func warnOfRejection(by relay: RelayConnection) {
        guard self.rejectingRelays.count < RelayPool.maximumConnections,
            self.rejectingRelays.insert(relay.url).inserted
        else { return }
        self.logger.warning(
            "relay rejects events of unknown authors, so it carries no sessions",
            metadata: [
                "relay.url": "\(relay.url)", "remedy": "\(self.configuration.remedyText(.relayAuthenticationKey))",
            ]
        )
    }

    /// Creates a UUID for a stream or for a query to an exit.
    static func makeUUID() -> String {
        var generator = SystemRandomNumberGenerator()
        return NIP74StateMachine.makeKey(using: &generator)
    }

    /// The secret key with which this device identifies itself to an exit. Nil if no key is configured for this exit, or the
    /// configuration does not allow the exit to learn it.
    func identity(for address: ExitAddress) -> SecretKey? {
        guard address.allowsIdentity else { return nil }
        if let own = self.configuration.identities[address.publicKey] { return own }
        guard self.configuration.identityExits?.contains(address.publicKey) ?? true else { return nil }
        return self.configuration.identity
    }

    /// The secret that the identity shares with an exit. Nil without an identity.
    func identityCredential(for address: ExitAddress) -> Credential? {
        guard let identity = self.identity(for: address) else { return nil }
        return try? Credential(identity: identity, peer: address.publicKey, exit: address.publicKey)
    }

    private func inviteCredential(for address: ExitAddress) -> Credential? {
        self.configuration.invites[address.publicKey]?.credential(for: address.publicKey)
    }

    /// Returns the secret that proves the client in an offer: an invite, else a ticket, which is then used up, else the identity.
    func takeCredential(for address: ExitAddress) -> Credential? {
        if let invite = self.inviteCredential(for: address) { return invite }
        guard let identity = self.identity(for: address)?.publicKey else { return nil }
        guard let ticket = self.tickets.take(for: address.publicKey, identity: identity, at: Moment.now.seconds) else {
            return self.identityCredential(for: address)
        }
        return Credential(ticket: ticket.secret, identity: identity, exit: address.publicKey)
    }

    /// The secret for the proof of a session query, as for an offer, but a ticket is not used up by it.
    func queryCredential(for address: ExitAddress) -> Credential? {
        if let invite = self.inviteCredential(for: address) { return invite }
        guard let identity = self.identity(for: address)?.publicKey else { return nil }
        guard let ticket = self.tickets.peek(for: address.publicKey, identity: identity, at: Moment.now.seconds) else {
            return self.identityCredential(for: address)
        }
        return Credential(ticket: ticket.secret, identity: identity, exit: address.publicKey)
    }

    /// Minimum time between two reports about the relays of one exit.
    private static let relayReportInterval: TimeAmount = .minutes(10)

    /// Reports the relays that an exit has named in a session, if it has an alias that does not contain all of them. The
    /// relays that the alias had are kept after them.
    func noteRelays(_ relays: [RelayURL], of exit: PublicKey) {
        guard let report = self.configuration.relaysChanged,
            let known = self.configuration.aliases.values.first(where: { $0.publicKey == exit })?.relays
        else { return }
        // An exit on the local network may move to another relay there. One on the internet must not make this node connect to
        // local addresses.
        let isLocal = known.contains { !DialPolicy.untrusted.allows(host: $0.host) }
        let usable = relays.filter { isLocal || DialPolicy.untrusted.allows(host: $0.host) }
        let merged = Array((usable + known).removingDuplicates().prefix(EntryConfiguration.maximumRelaysPerName))
        guard Set(merged) != Set(known) else { return }
        let now = NIODeadline.now()
        guard self.relayReports[exit].map({ $0 + Self.relayReportInterval <= now }) ?? true else { return }
        // There are as many as aliases at most.
        self.relayReports[exit] = now
        for (alias, name) in self.configuration.aliases where name.publicKey == exit {
            self.configuration.aliases[alias] = NostrName(publicKey: exit, relays: merged)
        }
        report(exit, merged)
    }

    /// Creates an offer, without a proof.
    static func makeOffer(_ terms: OfferTerms) -> VersionedOffer {
        VersionedOffer(
            nonce: Array(Bytes32.random().bytes.prefix(VersionedOffer.nonceLength)),
            bodies: [VersionedOffer.Body(version: SessionConfiguration.version, bytes: terms.encoded)]
        )
    }
}
