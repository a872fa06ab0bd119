//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Everything of an exit that lives on its loop: its relays, its clients, and their connections to the backend.
final class ExitCore {
    private var configuration: ExitConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    private let metrics: TunnelMetrics
    private let dialer: BackendDialer
    private var gate: EventGate
    private var pool: RelayPool?
    private var relays: [RelayPool.Key] = []
    private var ready: Set<PathID> = []
    private var links: [PublicKey: PeerLink] = [:]
    private var sessions: ExitSessions?
    private let replays: ReplayJournal
    private var offers: HandshakeLimit
    /// Log lines about what clients did, which they could do any number of times.
    private var complaints = HandshakeLimit(rate: 5, now: .now())
    /// By relay: one that lets a flood through costs the clients of the others nothing.
    private var strangers: [PathID: HandshakeLimit] = [:]
    /// Streams of plain NIP-74, which anybody opens with one message, and those of sessions, apart: neither shuts out
    /// the other.
    private var plainStreams: ExitStreams
    private var sessionStreams: ExitStreams
    /// What strangers use of a public exit.
    private var usage: PublicUsage
    private var isStopped = false
    private var isDraining = false
    /// Where TLS ends, for the ports that want it.
    private var tls: TLSTerminator?
    private var certificate: ExitCertificate?
    private var lastSweep = NIODeadline.now()
    private let firstRelay: EventLoopPromise<Void>

    /// Connections of the long-term key, apart from all others.
    private static let lane = "exit"

    /// - Parameter firstRelay: Succeeds when a relay accepted the subscription.
    /// - Throws: If the replay file cannot be used.
    init(
        configuration: ExitConfiguration,
        loop: any EventLoop,
        logger: Logger,
        firstRelay: EventLoopPromise<Void>
    ) throws {
        self.replays = try ReplayJournal(path: configuration.replayFile, now: Moment.now.seconds)
        self.offers = HandshakeLimit(rate: configuration.handshakesPerSecond, now: .now())
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.plainStreams = ExitStreams(limit: configuration.maximumPlainStreams)
        self.usage = PublicUsage(configuration.policy?.limits ?? ExitPolicy.Limits())
        self.sessionStreams = ExitStreams(limit: configuration.maximumStreams)
        self.firstRelay = firstRelay
        if !configuration.services.tlsPorts.isEmpty {
            let name = NostrName(publicKey: configuration.secretKey.publicKey, relays: configuration.relays)
            let certificate = try ExitCertificate(key: configuration.secretKey, name: name, now: Date())
            self.certificate = certificate
            self.tls = try TLSTerminator(certificate)
        }
        self.dialer = BackendDialer(timeout: configuration.dialTimeout, loop: loop)
        self.metrics = TunnelMetrics(logger: logger)
        self.gate = EventGate(metrics: self.metrics, logger: logger)
    }

    func start() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let pool = RelayPool(
            configuration: self.configuration.relayClient,
            lingering: self.configuration.lingering,
            loop: self.loop,
            logger: self.logger,
            callbacks: RelayPool.Callbacks(
                onEvent: { bound.value.receive($0, $1) },
                onUp: { bound.value.relayUp($0) },
                onDown: { bound.value.relayDown($0, $1) },
                onWritabilityChange: { bound.value.writabilityChanged($0, $1) }
            )
        )
        self.pool = pool
        if self.configuration.dialectChoice != .nip74 {
            let sessions = ExitSessions(
                configuration: self.configuration,
                loop: self.loop,
                logger: self.logger,
                metrics: self.metrics,
                onIncoming: { bound.value.connect($0, $1, $2) },
                admitOnce: { offer, client in
                    bound.value.replays.admit(
                        client: client,
                        key: offer.key,
                        createdAt: offer.createdAt,
                        now: Moment.now.seconds
                    )
                }
            )
            self.sessions = sessions
            sessions.start(pool)
        }
        let ownKey = self.configuration.secretKey.publicKey
        for url in self.configuration.relays {
            let key = RelayPool.Key(url: url, lane: Self.lane)
            guard
                let connection = pool.use(
                    key,
                    policy: .configured,
                    authenticationKey: self.configuration.secretKey
                )
            else { continue }
            let path = PathID(rawValue: self.relays.count)
            self.relays.append(key)
            connection.onSubscriptionSettled = { bound.value.subscriptionSettled(path) }
            connection.addRecipient(ownKey) { bound.value.pathReady(path) }
        }
        self.announceLater()
        self.sweepLater()
    }

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.streams = self.streamCount
        for key in self.relays {
            guard let connection = self.pool?.connection(key) else { continue }
            if connection.subscriptionIsAccepted { status.isReady = true }
            status.relays.append(
                TunnelStatus.Relay(url: key.url, isUp: connection.isOpen, error: connection.lastError)
            )
        }
        if let sessions {
            for link in sessions.links {
                status.add(link) { sessions.url(of: PathID(rawValue: $1)) }
                status.peers.append(Self.peer(link, isSession: true))
            }
        }
        status.peers += self.links.values.map { Self.peer($0, isSession: false) }
        return status
    }

    private static func peer(_ link: PeerLink, isSession: Bool) -> TunnelStatus.Peer {
        TunnelStatus.Peer(
            name: link.identity?.npub ?? link.peer.hex,
            isSession: isSession,
            streams: link.streamCount,
            age: Int((NIODeadline.now() - link.startedAt).nanoseconds / 1_000_000_000)
        )
    }

    /// Streams that are not over.
    var streamCount: Int { self.plainStreams.count + self.sessionStreams.count }

    /// Takes no new streams.
    func startDraining() {
        self.withdrawAnnouncement()
        self.isDraining = true
    }

    func stop() {
        self.isStopped = true
        self.sessions?.stop()
        for link in self.links.values { link.close(.shuttingDown) }
        self.links = [:]
        self.firstRelay.fail(RelayConnectionError.stopped)
    }

    /// Takes what can change while streams run.
    func update(_ configuration: ExitConfiguration) {
        let becomesPrivate = self.configuration.access == nil && configuration.access != nil
        self.configuration.services = configuration.services
        self.configuration.access = configuration.access
        if self.configuration.policy != nil, configuration.policy != nil {
            self.configuration.policy = configuration.policy
        }
        self.sessions?.update(configuration)
        guard becomesPrivate else { return }
        // Nobody who came before the list has said who it is.
        for link in self.links.values { link.close(.notAllowed) }
        self.links = [:]
    }

    /// Closes the relays once the last messages of ``stop()`` had time to leave.
    func disconnect(after delay: TimeAmount, promise: EventLoopPromise<Void>) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: delay) {
            bound.value.pool?.stop()
            promise.succeed()
        }
    }

    // MARK: Relays

    private func connection(_ path: PathID) -> RelayConnection? {
        guard self.relays.indices.contains(path.rawValue) else { return nil }
        return self.pool?.connection(self.relays[path.rawValue])
    }

    private func subscriptionSettled(_ path: PathID) {
        guard let connection = self.connection(path), connection.subscriptionIsAccepted else { return }
        connection.onSubscriptionSettled = nil
        self.publishCertificate(on: connection)
        self.announce(on: [connection])
        self.firstRelay.succeed()
    }

    // MARK: Announcements

    /// Makes a public exit known, now and before that lapses.
    private func announceLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: ExitAnnouncement.renewal) {
            guard !bound.value.isStopped else { return }
            bound.value.announce(on: bound.value.relays.compactMap { bound.value.pool?.connection($0) })
            bound.value.announceLater()
        }
    }

    private func announce(on connections: [RelayConnection]) {
        guard self.configuration.policy != nil, self.configuration.announces, !self.isDraining else { return }
        guard
            let event = try? ExitAnnouncement.event(
                by: self.configuration.secretKey,
                relays: self.configuration.relays,
                createdAt: Moment.now.seconds
            )
        else { return }
        self.publish(
            event,
            on: connections,
            refused: "relay does not take the announcement, so nobody finds the exit there"
        )
    }

    private func withdrawAnnouncement() {
        guard self.configuration.policy != nil, self.configuration.announces,
            let event = try? ExitAnnouncement.withdrawal(
                by: self.configuration.secretKey,
                createdAt: Moment.now.seconds
            )
        else { return }
        self.publish(
            event,
            on: self.relays.compactMap { self.pool?.connection($0) },
            refused: "relay does not take the announcement back; it lapses by itself"
        )
    }

    private func publish(_ event: Event, on connections: [RelayConnection], refused: Logger.Message) {
        let logger = self.logger
        for connection in connections {
            connection.publish(event.id, ClientMessage.encodeEvent(event)) { result in
                guard case .rejected(let reason) = result else { return }
                logger.warning(refused, metadata: ["relay.url": "\(connection.url)", "reason": "\(reason)"])
            }
        }
    }

    /// Clients find there what to trust (kind 38334).
    private func publishCertificate(on connection: RelayConnection) {
        guard let certificate else { return }
        let key = self.configuration.secretKey
        guard let event = try? certificate.event(by: key, createdAt: Moment.now.seconds) else { return }
        self.publish(
            event,
            on: [connection],
            refused: "relay does not take the certificate, so clients cannot find it there"
        )
    }

    private func pathReady(_ path: PathID) {
        guard let connection = self.connection(path) else { return }
        self.ready.insert(path)
        let description = PathDescription(url: connection.url, information: connection.information)
        for link in self.links.values { link.addPath(path, description) }
        self.sessions?.forHeldLinks { $0.addPath(path, description) }
    }

    private func relayUp(_ key: RelayPool.Key) {
        // The connections of sessions come and go with those of the long-term key, which speak for both.
        guard key.lane == Self.lane else { return }
        self.logger.info("relay up", metadata: ["relay.url": "\(key.url)"])
    }

    private func relayDown(_ key: RelayPool.Key, _ reason: String) {
        if key.lane == ExitSessions.lane {
            self.sessions?.relayDown(key)
            return
        }
        self.logger.info("relay down", metadata: ["relay.url": "\(key.url)", "reason": "\(reason)"])
        guard let index = self.relays.firstIndex(of: key) else { return }
        let path = PathID(rawValue: index)
        guard self.ready.remove(path) != nil else { return }
        for link in self.links.values { link.removePath(path) }
        self.sessions?.forHeldLinks { $0.removePath(path) }
    }

    private func writabilityChanged(_ key: RelayPool.Key, _ isWritable: Bool) {
        if key.lane == ExitSessions.lane {
            self.sessions?.writabilityChanged(key, isWritable)
            return
        }
        guard let index = self.relays.firstIndex(of: key) else { return }
        for link in self.links.values { link.setWritable(PathID(rawValue: index), isWritable) }
    }

    // MARK: Events

    private func receive(_ key: RelayPool.Key, _ received: ReceivedEvent) {
        let event = received.event
        guard !self.isStopped, let recipient = self.gate.recipient(of: event) else { return }
        if key.lane == ExitSessions.lane {
            self.receiveForSession(key, event, recipient)
            return
        }
        guard let index = self.relays.firstIndex(of: key) else { return }
        let ownKey = self.configuration.secretKey.publicKey
        guard recipient == ownKey else {
            self.metrics.rejected(.wrongRecipient)
            return
        }
        // NIP-44 keys are the same both ways: an event of ours that a relay reflects would open.
        guard event.pubkey != ownKey else {
            self.metrics.rejected(.wrongAuthor)
            return
        }
        // What strangers cost is bounded before anything is computed for them.
        let path = PathID(rawValue: index)
        let known = self.links[event.pubkey] ?? self.sessions?.heldLink(of: event.pubkey)
        if known == nil, !self.gate.isKnown(event), !self.takeHandshake(on: path) {
            self.metrics.rejected(.tooManyHandshakes)
            return
        }
        guard self.gate.admit(event), let link = known ?? self.makeLink(with: event.pubkey) else { return }
        link.receive(event, recipient: ownKey, path: path)
        self.keep(link)
    }

    /// Remembers a client as long as there is something to remember: its streams here, an offer with its session, which
    /// are few. What said nothing that matters leaves nothing behind.
    private func keep(_ link: PeerLink) {
        guard self.links[link.peer] !== link, !link.isIdle else { return }
        if link.streamCount == 0, self.sessions?.hold(link) == true { return }
        if self.links.count >= self.configuration.maximumPeers, self.lastSweep + .seconds(1) <= .now() {
            self.lastSweep = .now()
            self.sweep(after: .zero)
        }
        guard self.links.count < self.configuration.maximumPeers else {
            self.metrics.rejected(.tooManyPeers)
            link.close(.tooManyStreams)
            return
        }
        self.links[link.peer] = link
        self.sessions?.release(link)
    }

    /// Whether one more message of a stranger is looked at, or an offer answered.
    private func takeHandshake(on path: PathID) -> Bool {
        self.strangers[
            path,
            default: HandshakeLimit(rate: self.configuration.handshakesPerSecond, now: .now())
        ].take(at: .now())
    }

    /// An offer, or a question after a session: each costs signatures, from a key that was seen before too.
    private func receiveOffer(_ offer: SessionOffer, from client: PublicKey) {
        guard self.offers.take(at: .now()) else {
            self.metrics.rejected(.tooManyHandshakes)
            return
        }
        self.sessions?.receive(offer, from: client)
    }

    private func receiveForSession(_ key: RelayPool.Key, _ event: Event, _ recipient: PublicKey) {
        guard let sessions, let session = sessions.session(recipient: recipient, author: event.pubkey),
            self.gate.verify(event),
            let offer = sessions.receive(event, session, recipient: recipient, relay: key)
        else { return }
        // A link that was kept for the offer alone went with it.
        self.links[offer.client]?.offerSettled(offer.key)
    }

    private func makeLink(with client: PublicKey) -> PeerLink? {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        do {
            let link = try PeerLink(
                peer: client,
                ownKey: self.configuration.secretKey,
                dialect: NIP74Dialect(role: .exit(client: client), configuration: self.nip74Configuration),
                loop: self.loop,
                metrics: self.metrics,
                logger: self.logger,
                owner: PeerLink.Owner(onOffer: { bound.value.receiveOffer($1, from: $0.peer) }),
                connections: { bound.value.connection($0) },
                onIncoming: { bound.value.connect($0, $1, $2) }
            )
            for path in self.ready {
                guard let connection = self.connection(path) else { continue }
                link.addPath(path, PathDescription(url: connection.url, information: connection.information))
            }
            return link
        } catch {
            self.metrics.rejected(.invalidSignature)
            return nil
        }
    }

    private var nip74Configuration: NIP74Configuration {
        var configuration = self.configuration.dialect
        configuration.takesOffers = self.configuration.dialectChoice != .nip74
        return configuration
    }

    // MARK: Streams

    /// Whether a CONNECT of NIP-74 may be dialled: never twice, and not where only sessions are served.
    private func admit(_ connect: StreamRequest.Connect, of link: PeerLink) -> StreamEnd? {
        self.sessions?.offerBecamePlain(link.peer, connect.key)
        // Plain NIP-74 has no identities, so it would walk around the list.
        guard self.configuration.dialectChoice != .session, self.configuration.access == nil else {
            if self.complaints.take(at: .now()) {
                self.logger.warning(
                    "a client speaks plain NIP-74, which this exit does not serve (--dialect session, --allow)",
                    metadata: ["peer": "\(link.peer)"]
                )
            }
            return .notAllowed
        }
        let now = Moment.now.seconds
        guard
            self.replays.admit(client: link.peer, key: connect.key, createdAt: connect.createdAt, now: now)
        else {
            self.metrics.reported(.replayedConnect)
            if self.replays.hasFailed || self.replays.isFull, self.complaints.take(at: .now()) {
                self.logger.error(
                    self.replays.isFull
                        ? "too many plain NIP-74 requests at once to remember them all; more are refused for some minutes"
                        : "cannot write down which plain NIP-74 requests were served, so none are: is the disk full?"
                )
            }
            return .replayed
        }
        return nil
    }

    /// Connects a stream to the service on its port, whatever destination it names.
    private func connect(_ link: PeerLink, _ id: StreamID, _ request: StreamRequest) -> PeerLink.IncomingAnswer {
        guard !self.isDraining else { return .refused(.shuttingDown) }
        if let connect = request.connect, let refusal = self.admit(connect, of: link) { return .refused(refusal) }
        if self.configuration.access != nil, self.sessions?.mayOpen(request.port, link) != true {
            // The same for everybody who may not, and for what there is and what there is not.
            self.metrics.streamsForbidden.increment()
            if self.complaints.take(at: .now()) {
                self.logger.info(
                    "stream refused: not allowed",
                    metadata: [
                        "identity": "\(link.identity?.npub ?? "none")", "peer": "\(link.peer)",
                        "port": "\(request.port ?? 0)",
                    ]
                )
            }
            return .refused(.notAllowed)
        }
        guard let place = self.place(of: request, link) else { return .refused(.refused) }
        var throttles: [Throttle] = []
        if case .clearnet = place {
            guard let granted = self.usage.begin(link.identity ?? link.peer, at: .now()) else {
                self.metrics.reported(.tooManyStreams)
                return .refused(.tooManyStreams)
            }
            throttles = granted
        }
        let answer = self.connect(link, id, request, to: place, throttles)
        if case .clearnet = place, case .refused = answer { self.usage.end(link.identity ?? link.peer, at: .now()) }
        return answer
    }

    /// Where a stream goes: to a service, or to a place on the internet. Nil, and a line of log, if there is neither.
    private func place(of request: StreamRequest, _ link: PeerLink) -> Place? {
        if self.configuration.policy != nil, let target = ClearnetTarget(request) { return .clearnet(target) }
        if let backend = self.configuration.services.backend(for: request.port) {
            return .service(backend, tls: self.configuration.services.endsTLS(request.port) ? self.tls : nil)
        }
        if self.complaints.take(at: .now()) {
            self.logger.info(
                "stream refused: no service on that port",
                metadata: ["peer": "\(link.peer)", "port": "\(request.port ?? 0)"]
            )
        }
        return nil
    }

    /// What a stream is connected to.
    private enum Place: CustomStringConvertible {
        case service(Backend, tls: TLSTerminator?)
        case clearnet(ClearnetTarget)

        var description: String {
            switch self {
            case .service(let backend, _): "\(backend)"
            // Where strangers go is theirs to know.
            case .clearnet: "clearnet"
            }
        }
    }

    private func connect(
        _ link: PeerLink,
        _ id: StreamID,
        _ request: StreamRequest,
        to place: Place,
        _ throttles: [Throttle]
    ) -> PeerLink.IncomingAnswer {
        let isPlain = request.connect != nil
        guard !self.isStopped, self.hasRoom(isPlain: isPlain, link) else {
            self.metrics.reported(.tooManyStreams)
            self.logger.debug("stream refused: too many", metadata: ["peer": "\(link.peer)"])
            return .refused(.tooManyStreams)
        }
        let number = self.withStreams(isPlain) { $0.begin() }
        let startedAt = NIODeadline.now()
        let logger = self.logger
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundLink = NIOLoopBound(link, eventLoop: self.loop)
        let peer = link.peer
        let client = link.identity ?? link.peer
        let splice = SpliceHandler(link: link, id: id) { reason, sent, received in
            bound.value.withStreams(isPlain) { $0.end(number) }
            if case .clearnet = place { bound.value.usage.end(client, at: .now()) }
            logger.info(
                "stream ended",
                metadata: [
                    "peer": "\(peer)", "backend": "\(place)", "sent": "\(sent)",
                    "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ]
            )
        }
        splice.throttles = throttles
        self.withStreams(isPlain) { $0.note(number, splice) }
        let boundSplice = NIOLoopBound(splice, eventLoop: self.loop)
        self.withStreams(isPlain) { $0.dials += 1 }
        // Not at once: a dial may fail at once, and the link must know the endpoint by then.
        self.loop.flatSubmit {
            bound.value.dial(place, boundSplice)
        }.whenComplete { result in
            bound.value.withStreams(isPlain) { $0.dials -= 1 }
            switch result {
            case .success(let channel):
                // The stream may have ended meanwhile.
                guard !boundSplice.value.isOver else {
                    channel.close(promise: nil)
                    return
                }
                logger.debug("stream connected", metadata: ["peer": "\(peer)"])
                boundLink.value.connected(id)
            case .failure(let error):
                let end = BackendDialer.end(for: error)
                bound.value.dialFailed(place, end, error)
                boundSplice.value.fail(end)
            }
        }
        return .accepted(splice)
    }

    private func dial(_ place: Place, _ splice: NIOLoopBound<SpliceHandler>) -> EventLoopFuture<any Channel> {
        switch place {
        case .service(let backend, let tls): self.dialer.dial(backend, tls: tls, splice: splice)
        case .clearnet(let target):
            self.dialer.dial(target, policy: self.configuration.policy ?? ExitPolicy(ports: []), splice: splice)
        }
    }

    private func dialFailed(_ place: Place, _ end: StreamEnd, _ error: any Error) {
        switch place {
        case .service(let backend, _):
            guard self.complaints.take(at: .now()) else { return }
            self.logger.warning(
                "cannot reach the backend",
                metadata: ["backend": "\(backend)", "error": "\(error)"]
            )
        case .clearnet:
            if end == .notAllowed { self.metrics.streamsForbidden.increment() }
            self.logger.debug("cannot reach a clearnet target", metadata: ["reason": "\(end.rawValue)"])
        }
    }

    private func withStreams<Result>(_ isPlain: Bool, _ body: (inout ExitStreams) -> Result) -> Result {
        isPlain ? body(&self.plainStreams) : body(&self.sessionStreams)
    }

    private func hasRoom(isPlain: Bool, _ link: PeerLink) -> Bool {
        guard isPlain else {
            return self.sessionStreams.hasRoom(beside: link.streamCount, of: self.sessions?.count ?? 1)
        }
        if self.plainStreams.isFull {
            // Its end is told to this exit, so not from inside.
            let silent = self.plainStreams.takeSilent(olderThan: self.configuration.silentStreamAge)
            silent?.evict()
        }
        return !self.plainStreams.isFull
    }

    // MARK: Forgetting

    private func sweepLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: self.configuration.lingering) {
            guard !bound.value.isStopped else { return }
            bound.value.sweep(after: bound.value.configuration.lingering)
            bound.value.sessions?.enforceAccess()
            bound.value.usage.sweep(at: .now())
            bound.value.sweepLater()
        }
    }

    /// Forgets clients without streams for `idleTime`.
    private func sweep(after idleTime: TimeAmount) {
        for (client, link) in self.links {
            guard link.isIdle, let idleSince = link.idleSince, idleSince + idleTime <= .now() else { continue }
            link.close(nil)
            self.links[client] = nil
        }
    }
}
