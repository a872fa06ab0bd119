//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
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
    var configuration: ExitConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let dialer: BackendDialer
    var gate: EventGate
    var pool: RelayPool?
    /// The place of one in this list names its path; one that goes away leaves its place empty.
    var relays: [RelayPool.Key?] = []
    var ready: Set<PathID> = []
    var links: [PublicKey: PeerLink] = [:]
    var sessions: ExitSessions?
    let replays: ReplayJournal
    var offers: TokenBucket
    /// Log lines about what clients did, which they could do any number of times.
    var complaints = TokenBucket(perSecond: 5, now: .now())
    /// By relay: one that lets a flood through costs the clients of the others nothing.
    var strangers: [PathID: TokenBucket] = [:]
    /// Streams of plain NIP-74, which anybody opens with one message, and those of sessions, apart: neither shuts out
    /// the other.
    var plainStreams: ExitStreams
    var sessionStreams: ExitStreams
    /// What strangers use of a public exit.
    var usage: PublicUsage
    /// Connections to entries (CONNECTR).
    let reverseConnections: ConnectionSet
    var isStopped = false
    /// While streams finish before the end; new ones are refused.
    var drain: Drain?
    /// Where TLS ends, for the ports that want it.
    var tls: TLSTerminator?
    var certificate: ExitCertificate?
    /// What says where the exit reads, if that is to be said.
    var relayList: ExitRelayList?
    /// Relays that have what the exit publishes of itself.
    var published: Set<RelayURL> = []
    var hasRelay = false
    /// It was said that no relay is up.
    var isUnreachable = false
    private var lastSweep = NIODeadline.now()
    let firstRelay: EventLoopPromise<Void>

    /// Connections of the long-term key, apart from all others.
    static let lane = "exit"

    /// - Parameter firstRelay: Succeeds when a relay accepted the subscription.
    /// - Throws: If the replay file cannot be used.
    init(
        configuration: ExitConfiguration,
        loop: any EventLoop,
        logger: Logger,
        firstRelay: EventLoopPromise<Void>
    ) throws {
        self.replays = try ReplayJournal(path: configuration.replayFile, now: Moment.now.seconds)
        self.offers = TokenBucket(perSecond: configuration.handshakesPerSecond, now: .now())
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.plainStreams = ExitStreams(limit: configuration.maximumPlainStreams)
        self.usage = PublicUsage(configuration.policy?.limits ?? ExitPolicy.Limits())
        self.sessionStreams = ExitStreams(limit: configuration.maximumStreams)
        self.reverseConnections = ConnectionSet(limit: configuration.maximumPlainStreams)
        self.firstRelay = firstRelay
        for (port, backend) in configuration.services.byPort where configuration.services.endsTLS(port) {
            if case .local = backend { throw TLSOfCodeError(port: port) }
        }
        if !configuration.services.tlsPorts.isEmpty { (self.certificate, self.tls) = try Self.certify(configuration) }
        self.dialer = BackendDialer(timeout: configuration.dialTimeout, loop: loop)
        self.metrics = TunnelMetrics(logger: logger)
        self.gate = EventGate(metrics: self.metrics, logger: logger)
    }

    /// A service that is code of the program gets bytes as they are.
    struct TLSOfCodeError: Error, CustomStringConvertible {
        let port: UInt16
        var description: String { "TLS does not end in front of code of this program (port \(self.port))" }
    }

    /// The certificate of the exit's name, and what ends TLS with it.
    private static func certify(_ configuration: ExitConfiguration) throws -> (ExitCertificate, TLSTerminator) {
        let certificate = try ExitCertificate(key: configuration.secretKey, name: configuration.name, now: Date())
        return (certificate, try TLSTerminator(certificate))
    }

    /// The name changed with the relays. The authority that clients keep stays, its keys are the exit's.
    func renewCertificate() {
        guard self.certificate != nil else { return }
        do {
            (self.certificate, self.tls) = try Self.certify(self.configuration)
        } catch {
            self.logger.warning("cannot make a certificate of the new name", metadata: ["error": "\(error)"])
        }
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
        if self.configuration.publishesRelays {
            do {
                self.relayList = try self.makeRelayList()
            } catch {
                self.logger.warning("no relay list is published", metadata: ["error": "\(error)"])
            }
        }
        for url in self.configuration.relays { self.addRelay(url) }
        self.announceLater()
        self.sweepLater()
    }

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.streams = self.streamCount
        for key in self.activeRelays {
            guard let connection = self.pool?.connection(key) else { continue }
            if connection.subscriptionIsAccepted { status.isReady = true }
            status.relays.append(
                TunnelStatus.Relay(url: key.url, isUp: connection.isOpen, error: connection.lastError)
            )
        }
        for connection in self.pool?.all ?? [] { status.add(connection.carriedBytes, of: connection.url) }
        if let sessions {
            for link in sessions.links {
                status.add(link) { sessions.url(of: $0) }
                status.peers.append(Self.peer(link, isSession: true))
            }
        }
        status.peers += self.links.values.map { Self.peer($0, isSession: false) }
        return status
    }

    static func peer(_ link: PeerLink, isSession: Bool) -> TunnelStatus.Peer {
        TunnelStatus.Peer(
            name: link.identity?.npub ?? link.peer.hex,
            isSession: isSession,
            streams: link.streamCount,
            age: Int((NIODeadline.now() - link.startedAt).nanoseconds / 1_000_000_000)
        )
    }

    /// Streams that are not over.
    var streamCount: Int { self.plainStreams.count + self.sessionStreams.count }

    /// Takes no new streams, and waits for those that are open.
    func drain(patience: TimeAmount) -> EventLoopFuture<Void> {
        self.withdrawAnnouncement()
        let drain = Drain(patience: patience, on: self.loop)
        self.drain = drain
        self.logger.info("taking no new streams", metadata: ["open": "\(self.streamCount)"])
        self.streamEnded()
        return drain.future
    }

    func streamEnded() {
        if self.streamCount == 0 { self.drain?.finish() }
    }

    func stop() {
        self.isStopped = true
        self.sessions?.stop()
        for link in self.links.values { link.close(.shuttingDown) }
        self.links = [:]
        self.reverseConnections.closeAll()
        if !self.hasRelay { self.firstRelay.fail(RelayConnectionError.stopped) }
    }

    /// Takes what can change while streams run.
    func update(_ configuration: ExitConfiguration) {
        let becomesPrivate = self.configuration.access == nil && configuration.access != nil
        let tlsPorts = self.configuration.services.tlsPorts
        self.configuration.services = configuration.services
        // Certificates are made at the start.
        self.configuration.services.tlsPorts = tlsPorts
        self.configuration.access = configuration.access
        if self.configuration.policy != nil, configuration.policy != nil {
            self.configuration.policy = configuration.policy
            self.usage.limits = configuration.policy?.limits ?? ExitPolicy.Limits()
        }
        if configuration.handshakesPerSecond != self.configuration.handshakesPerSecond {
            self.configuration.handshakesPerSecond = configuration.handshakesPerSecond
            self.offers = TokenBucket(perSecond: configuration.handshakesPerSecond, now: .now())
            self.strangers = [:]
        }
        self.use(configuration)
        self.sessions?.update(configuration)
        guard becomesPrivate else { return }
        // Nobody who came before the list has said who it is.
        for link in self.links.values { link.close(.notAllowed) }
        self.links = [:]
        self.reverseConnections.closeAll()
    }

    /// Closes the relays once the last messages of ``stop()`` had time to leave.
    func disconnect(after delay: TimeAmount, promise: EventLoopPromise<Void>) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: delay) {
            bound.value.pool?.stop()
            promise.succeed()
        }
    }

    // MARK: Events

    func receive(_ key: RelayPool.Key, _ received: ReceivedEvent) {
        let event = received.event
        guard !self.isStopped, let recipient = self.gate.recipient(of: event) else { return }
        if ExitSessions.isLane(key.lane) {
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
        let known = self.links[event.pubkey] ?? self.sessions?.waiting.link(of: event.pubkey)
        if known == nil, !self.gate.isKnown(event), !self.takeHandshake(on: path) {
            self.metrics.rejected(.tooManyHandshakes)
            return
        }
        guard self.gate.admit(event), let link = known ?? self.makeLink(with: event.pubkey) else { return }
        guard let message = link.open(event, recipient: ownKey) else { return }
        link.receive(message, path: path)
        self.keep(link)
    }

    /// Remembers a client as long as there is something to remember: its streams here, an offer with its session, which
    /// are few. What said nothing that matters leaves nothing behind.
    func keep(_ link: PeerLink) {
        guard self.links[link.peer] !== link, !link.isIdle else { return }
        if link.streamCount == 0, self.sessions?.waiting.hold(link) == true { return }
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
        self.sessions?.waiting.release(link)
    }

    /// Whether one more message of a stranger is looked at, or an offer answered.
    private func takeHandshake(on path: PathID) -> Bool {
        self.strangers[
            path,
            default: TokenBucket(perSecond: self.configuration.handshakesPerSecond, now: .now())
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
                owner: PeerLink.Owner(
                    onOffer: { bound.value.receiveOffer($1, from: $0.peer) },
                    onReverse: { bound.value.connectReverse($0, $1) }
                ),
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

    // MARK: Forgetting

    func sweepLater() {
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
    func sweep(after idleTime: TimeAmount) {
        for (client, link) in self.links {
            guard link.isIdle, let idleSince = link.idleSince, idleSince + idleTime <= .now() else { continue }
            link.close(nil)
            self.links[client] = nil
        }
    }
}
