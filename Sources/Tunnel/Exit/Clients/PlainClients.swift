//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Serves the requests of plain NIP-74 clients.
protocol PlainClientsDelegate: AnyObject {
    func plainClients(
        _ clients: PlainClients,
        isAskedFor request: StreamRequest,
        as id: StreamID,
        on link: PlainLink
    ) -> StreamDecision
    /// A client offers a session, or asks whether the exit still knows one.
    ///
    /// - Parameters:
    ///   - url: The relay by which the offer arrived.
    ///   - known: The client whose proof the offer contains. Nil if the exit has no access list.
    func plainClients(
        _ clients: PlainClients,
        didReceive offer: SessionOffer,
        from client: PublicKey,
        by url: RelayURL?,
        known: KnownClient?
    )
    /// A client offers a session with a date that is not recent. Its clock or this machine's is probably wrong.
    func plainClients(
        _ clients: PlainClients,
        didReceiveOutdated offer: SessionOffer,
        from client: PublicKey,
        by url: RelayURL?
    )
    /// A client requests that the exit connect to it (CONNECTR).
    func plainClients(_ clients: PlainClients, didReceive request: ReverseRequest, on link: PlainLink)
}

/// Processes the messages for an exit's long-term key: plain NIP-74, and the offers of sessions.
final class PlainClients {
    /// A client that is kept only for its offers.
    private struct Offering {
        var offers = 0
        var client: PlainClient?
    }

    private let context: ExitContext
    /// The connections of the long-term key, which are separate from all others.
    private let lane: RelayLane
    private let verifier: EventVerifier
    private var admission: Admission
    /// Messages of unknown clients that arrived when their rate limit was reached.
    private var strangers = StrangerQueue<Event, EventID>()
    /// With an access list, the IDs of messages without a valid proof. Each ID was verified, so a message with the same ID has
    /// the same content and is not checked again.
    private var unproven = EventDeduplicator(capacity: rememberedUnproven)
    private var strangersTimer: Scheduled<Void>?
    /// Nil without an access list.
    private var gate: OfferGate?
    private let tickets: TicketJournal
    private var relays = NumberedRelays()
    private var ready: Set<PathID> = []
    private var clients: [PublicKey: PlainClient] = [:]
    private var offering: [PublicKey: Offering] = [:]
    private var lastSweep = NIODeadline.now()
    weak var delegate: (any PlainClientsDelegate)?

    /// Maximum length of the content of a waiting message, in bytes. An offer is shorter.
    private static let maximumWaitingContent = 16_384
    /// With an access list, the exit makes this many key agreements for each message of the configured rate: one costs about
    /// a seventh of a handshake.
    private static let messagesPerHandshake = 7
    /// Minimum number of these IDs that are remembered. At most twice as many are.
    private static let rememberedUnproven = 16_384
    /// Without a list, the rate of messages is divided by this number for clients that open no stream.
    private static let unusedPart = 10
    /// Minimum interval between sweeps that are triggered by the limit on clients.
    private static let sweepInterval: TimeAmount = .seconds(1)

    /// - Parameter lane: The connections of the exit's long-term key.
    init(lane: RelayLane, context: ExitContext) {
        self.lane = lane
        self.context = context
        self.verifier = EventVerifier(metrics: context.metrics, logger: context.logger)
        self.admission = Admission(Self.rates(context.configuration), now: .now())
        self.tickets = TicketJournal(path: context.configuration.ticketFile)
        self.updateAccess()
    }

    // MARK: Relays

    var connections: [RelayConnection] { self.relays.all.map(\.relay) }

    /// The seconds by which the relays' clocks are ahead of this machine's.
    private var clockCorrection: Int64 { RelayConnection.clockCorrection(of: self.connections) }

    /// Connects to these relays, and disconnects from all others.
    func use(_ urls: [RelayURL]) {
        for relay in self.connections where !urls.contains(relay.url) { self.remove(relay) }
        for url in urls where !self.relays.contains(url) { self.add(url) }
    }

    private func add(_ url: RelayURL) {
        let relay = self.context.pool.use(
            url,
            in: self.lane,
            policy: .configured,
            authenticationKey: self.context.configuration.secretKey
        )
        guard let relay, let path = self.relays.add(relay) else { return }
        if relay.subscribe(self.context.key, to: self, catchesUp: true) { self.becameReady(relay, path) }
    }

    private func remove(_ relay: RelayConnection) {
        guard let path = self.relays.remove(relay) else { return }
        self.lost(path)
        relay.unsubscribe(self.context.key)
        self.context.pool.release(relay)
    }

    private func becameReady(_ relay: RelayConnection, _ path: PathID) {
        self.ready.insert(path)
        for link in self.links { link.addPath(path, relay) }
    }

    private func lost(_ path: PathID) {
        guard self.ready.remove(path) != nil else { return }
        for link in self.links { link.removePath(path) }
    }

    // MARK: Clients

    private var links: [PlainLink] {
        self.clients.values.map(\.link) + self.offering.values.compactMap(\.client?.link)
    }

    var status: [TunnelStatus.Peer] {
        self.clients.values.map { TunnelStatus.Peer($0.link, identity: nil) }
    }

    private func client(_ key: PublicKey) -> PlainClient? { self.clients[key] ?? self.offering[key]?.client }

    private func makeClient(_ key: PublicKey) -> PlainClient? {
        var configuration = self.context.configuration.nip74
        configuration.takesOffers = self.context.configuration.protocolChoice != .nip74
        guard let sealer = try? MessageSealer(own: self.context.configuration.secretKey, peer: key) else {
            self.context.metrics.rejected(.invalidSignature)
            return nil
        }
        let link = PlainLink(
            sealer: sealer,
            engine: NIP74StateMachine(role: .exit(client: key), configuration: configuration),
            loop: self.context.loop,
            metrics: self.context.metrics,
            logger: self.context.logger
        )
        link.delegate = self
        for (path, relay) in self.relays.all where self.ready.contains(path) { link.addPath(path, relay) }
        return PlainClient(link)
    }

    /// Stores a client that is not idle. A client without streams is stored together with its waiting offers, if it has
    /// any.
    private func keep(_ client: PlainClient) {
        guard self.clients[client.key] !== client, !client.link.isIdle else { return }
        if client.link.streamCount == 0, self.offering[client.key] != nil {
            self.offering[client.key]?.client = client
            return
        }
        if self.clients.count >= self.context.configuration.maximumPeers,
            self.lastSweep + Self.sweepInterval <= .now()
        {
            self.sweep(unusedFor: .zero)
        }
        guard self.clients.count < self.context.configuration.maximumPeers else {
            self.context.metrics.rejected(.tooManyPeers)
            return client.link.close(.tooManyStreams)
        }
        self.clients[client.key] = client
        if self.offering[client.key]?.client === client { self.offering[client.key]?.client = nil }
    }

    /// Removes clients that have had no stream for `idleTime`.
    func sweep(unusedFor idleTime: TimeAmount) {
        self.lastSweep = .now()
        for (key, client) in self.clients {
            guard client.link.isIdle, let since = client.link.idleSince, since + idleTime <= .now() else { continue }
            client.link.close(nil)
            self.clients[key] = nil
        }
    }

    // MARK: Offers

    /// Records that an offer of a client waits for the client's first packet.
    func offerBegan(of client: PublicKey) { self.offering[client, default: Offering()].offers += 1 }

    /// Records that an offer no longer waits. A client that was kept only for its offers is removed with the last one.
    func offerEnded(of client: PublicKey) {
        guard let offers = self.offering[client]?.offers else { return }
        self.offering[client]?.offers = offers - 1
        if offers == 1 { self.offering.removeValue(forKey: client)?.client?.link.abandon() }
    }

    /// Records that the session of an offer has begun.
    func offerSettled(_ key: String, of client: PublicKey) {
        self.clients[client]?.link.update { $0.offerSettled(key, at: $1) }
    }

    // MARK: Life

    /// Applies the access list of a new configuration.
    func updateAccess() {
        defer { self.updateRate() }
        // With the new list, the proofs of these messages may be valid.
        self.unproven = EventDeduplicator(capacity: Self.rememberedUnproven)
        guard let access = self.context.configuration.access else {
            self.gate = nil
            return
        }
        if self.gate == nil { self.gate = OfferGate(context: self.context, journal: self.tickets) }
        self.gate?.update(access)
    }

    /// Returns a ticket for a client. Nil without an access list.
    func issueTicket(to identity: PublicKey) -> Bytes32? { self.gate?.issueTicket(to: identity) }

    /// Records that an offer uses a ticket. Returns false if another offer has used it.
    func useTicket(_ hint: UInt64, by offer: Bytes32) -> Bool { self.gate?.useTicket(hint, by: offer) ?? false }

    /// Applies the rate limit of a new configuration.
    func updateRate() { self.admission.setRates(Self.rates(self.context.configuration), now: .now()) }

    private static func rates(_ configuration: ExitConfiguration) -> Admission.Rates {
        let rate = configuration.handshakesPerSecond
        // With an access list, a message of an unknown client costs only a key agreement.
        guard configuration.access == nil else {
            let messages = Self.messagesPerHandshake * rate
            return Admission.Rates(messages: messages, unused: messages)
        }
        return Admission.Rates(messages: rate, unused: max(1, rate / Self.unusedPart))
    }

    /// Records that a client uses the session that it requested.
    func recordUse() { self.admission.recordUse() }

    /// Ends all streams and removes all clients.
    func closeAll(_ reason: StreamEnd) {
        let links = self.links
        self.clients = [:]
        self.offering = [:]
        for link in links { link.close(reason) }
    }
}

extension PlainClients: RelaySubscriber {
    func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey) {
        guard let path = self.relays.path(of: relay) else { return }
        // NIP-44 uses the same key in both directions, so an event of this exit that a relay sends back could be
        // decrypted.
        guard event.pubkey != key else { return self.context.metrics.rejected(.wrongAuthor) }
        let known = self.client(event.pubkey)
        // Apply the rate limit before the expensive signature check. A client with streams is known; others have shown
        // nothing but one valid message.
        guard !self.isKnown(event) else { return self.context.metrics.rejected(.duplicate) }
        guard self.gate == nil, let known, known.link.streamCount > 0 else {
            return self.receiveFromStranger(event, on: path)
        }
        self.admit(event, on: path)
        if !known.isUsed {
            known.isUsed = true
            self.admission.recordUse()
        }
    }

    /// Whether the exit has processed this event. A relay, or anybody, can send it again.
    private func isKnown(_ event: Event) -> Bool {
        self.verifier.hasAdmitted(event) || self.unproven.contains(event.id)
    }

    /// Processes a message of an unknown client, or keeps it until the rate limit allows it.
    private func receiveFromStranger(_ event: Event, on path: PathID) {
        if self.strangers.isEmpty, self.admission.admitMessage(at: .now()) { return self.admit(event, on: path) }
        let isSmall = event.content.readableBytes <= Self.maximumWaitingContent
        // The ID alone is cheap to verify, and proves the work.
        guard isSmall, event.work == 0 || (try? event.verifyID()) != nil else {
            return self.context.metrics.rejected(.tooManyHandshakes)
        }
        if !self.strangers.insert(event, id: event.id, work: event.work, from: path, at: .now()) {
            self.context.metrics.rejected(.tooManyHandshakes)
        }
        self.serveStrangersLater()
    }

    private func serveStrangersLater() {
        guard self.strangersTimer == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        let next = self.admission.nextMessage(at: .now())
        self.strangersTimer = self.context.loop.scheduleTask(deadline: next) {
            bound.value.strangersTimer = nil
            bound.value.serveStrangers()
        }
    }

    private func serveStrangers() {
        while !self.strangers.isEmpty, self.admission.nextMessage(at: .now()) <= .now() {
            guard let (event, path) = self.strangers.next(at: .now()) else { break }
            // Another relay may have delivered it meanwhile.
            guard !self.isKnown(event), self.admission.admitMessage(at: .now()) else { continue }
            self.admit(event, on: path)
        }
        if !self.strangers.isEmpty { self.serveStrangersLater() }
    }

    private func admit(_ event: Event, on path: PathID) {
        // With an access list there is no plain NIP-74, and strangers get no answer.
        if let gate {
            guard let (offer, known) = gate.offer(in: event, path: path, clockCorrection: self.clockCorrection) else {
                // Otherwise copies of one event with much work would keep others out.
                if (try? event.verifyID()) != nil { _ = self.unproven.insert(event.id) }
                return
            }
            guard self.verifier.admit(event), gate.admits(known) else { return }
            let url = self.relays.relay(path)?.url
            self.delegate?.plainClients(self, didReceive: offer, from: event.pubkey, by: url, known: known)
            return
        }
        guard self.verifier.admit(event),
            let client = self.client(event.pubkey) ?? self.makeClient(event.pubkey)
        else { return }
        client.receive(event, for: self.context.key, path: path, metrics: self.context.metrics)
        self.keep(client)
    }

    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey) {
        if let path = self.relays.path(of: relay) { self.becameReady(relay, path) }
    }

    func relayDidDisconnect(_ relay: RelayConnection) {
        if let path = self.relays.path(of: relay) { self.lost(path) }
    }

    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool) {
        guard let path = self.relays.path(of: relay) else { return }
        for link in self.links { link.setWritable(path, isWritable) }
    }
}

extension PlainClients: PeerLinkDelegate {
    func link(_ link: PlainLink, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        self.delegate?.plainClients(self, isAskedFor: request, as: id, on: link) ?? .refused(.shuttingDown)
    }

    func link(_ link: PlainLink, didReceive signal: NIP74Signal) {
        switch signal {
        case .offered(let offer):
            guard self.admission.admitOffer(at: .now()) else {
                return self.context.metrics.rejected(.tooManyHandshakes)
            }
            let url = self.relays.relay(offer.path)?.url
            self.delegate?.plainClients(self, didReceive: offer, from: link.peer, by: url, known: nil)
        case .outdated(let offer):
            guard
                NIP74Configuration.isExplained(
                    offer.createdAt,
                    at: Moment.now.seconds,
                    correction: self.clockCorrection
                ), self.admission.admitOffer(at: .now())
            else { return }
            let url = self.relays.relay(offer.path)?.url
            self.delegate?.plainClients(self, didReceiveOutdated: offer, from: link.peer, by: url)
        case .reverse(let request): self.delegate?.plainClients(self, didReceive: request, on: link)
        // Only entries receive this signal.
        case .exitSentData: break
        }
    }

    func link(_ link: PlainLink, wasRejectedBy relay: RelayConnection) {}

    func linkDidBecomeIdle(_ link: PlainLink) {}
}
