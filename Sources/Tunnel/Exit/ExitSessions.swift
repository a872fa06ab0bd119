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

/// The sessions of an exit: offers that wait for the client's first packet, and sessions under way.
///
/// Their connections to the relays are apart from those of the long-term key, and authenticate with a throwaway key.
final class ExitSessions {
    var configuration: ExitConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let onIncoming: PeerLink.IncomingHandler
    /// Enters an offer among the CONNECTs that were dialled; false if it is there.
    let admitOnce: (SessionOffer, PublicKey) -> Bool

    var pool: RelayPool?
    var relays: [RelayPool.Key] = []
    /// By our key; a session has two while it changes keys.
    var byKey: [PublicKey: ExitSession] = [:]
    var waiting = WaitingOffers()
    /// All of them by the offers that made them.
    var byOffer: [ExitSession.OfferID: ExitSession] = [:]
    var isStopped = false
    /// Sessions under way.
    private(set) var count = 0
    /// Keys that relays know already, so that an acceptance need not wait for a subscription.
    var spares: [SecretKey] = []
    private var sparesAreDue = false
    var refusedRelays: Set<RelayPool.Key> = []

    /// Connections of short-lived keys.
    static let lane = "session"
    /// Keys made ahead, and how few are left when more are made.
    static let spareKeys = (most: 8, least: 3)
    /// Repetitions of an acceptance by the clock; the client's own bring more.
    static let maximumRepetitions = 3

    init(
        configuration: ExitConfiguration,
        loop: any EventLoop,
        logger: Logger,
        metrics: TunnelMetrics,
        onIncoming: @escaping PeerLink.IncomingHandler,
        admitOnce: @escaping (SessionOffer, PublicKey) -> Bool
    ) {
        self.admitOnce = admitOnce
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.metrics = metrics
        self.onIncoming = onIncoming
    }

    func start(_ pool: RelayPool) {
        self.pool = pool
        for url in self.configuration.relays.prefix(SessionConfiguration.maximumPaths) {
            let key = RelayPool.Key(url: url, lane: Self.lane)
            // The place in this list names the path, so a relay that cannot be used keeps its place.
            _ = pool.use(
                key,
                policy: .configured,
                authenticationKey: self.configuration.relayAuthenticationKey ?? .generate()
            )
            self.relays.append(key)
        }
        self.makeSpares()
        self.enforceMemoryLater()
    }

    func stop() {
        self.isStopped = true
        for session in self.sessions { session.link.close(.shuttingDown) }
        self.byKey = [:]
        self.byOffer = [:]
        self.waiting = WaitingOffers()
    }

    // MARK: Relays

    func connection(_ path: PathID) -> RelayConnection? {
        guard self.relays.indices.contains(path.rawValue) else { return nil }
        return self.pool?.connection(self.relays[path.rawValue])
    }

    func index(of relay: RelayPool.Key) -> PathID? {
        self.relays.firstIndex(of: relay).map(PathID.init(rawValue:))
    }

    /// The links of sessions under way.
    var links: [PeerLink] { self.sessions.filter(\.isEstablished).map(\.link) }

    func url(of path: PathID) -> RelayURL? {
        self.relays.indices.contains(path.rawValue) ? self.relays[path.rawValue].url : nil
    }

    /// Each session once.
    var sessions: [ExitSession] {
        var seen: Set<ObjectIdentifier> = []
        return self.byKey.values.filter { seen.insert(ObjectIdentifier($0)).inserted }
    }

    func relayDown(_ relay: RelayPool.Key) {
        guard let path = self.index(of: relay) else { return }
        for session in self.sessions { session.link.removePath(path) }
    }

    func writabilityChanged(_ relay: RelayPool.Key, _ isWritable: Bool) {
        guard let path = self.index(of: relay) else { return }
        for session in self.sessions { session.link.setWritable(path, isWritable) }
    }

    // MARK: Keys

    /// Not while an offer waits for its answer.
    func makeSparesLater() {
        guard !self.sparesAreDue else { return }
        self.sparesAreDue = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: .milliseconds(50)) {
            bound.value.sparesAreDue = false
            if !bound.value.isStopped { bound.value.makeSpares() }
        }
    }

    func makeSpares() {
        guard self.spares.count <= Self.spareKeys.least else { return }
        while self.spares.count < Self.spareKeys.most {
            let key = SecretKey.generate()
            self.spares.append(key)
            for relay in self.relays {
                self.pool?.connection(relay)?.addRecipient(key.publicKey, catchesUp: false) {}
            }
        }
    }

    /// Adds the relays on which a key is heard to its session's paths, now and whenever one comes back.
    func hear(_ key: PublicKey, _ session: ExitSession, heard: @escaping () -> Void = {}) {
        self.byKey[key] = session
        let bound = NIOLoopBound(session, eventLoop: self.loop)
        let boundSelf = NIOLoopBound(self, eventLoop: self.loop)
        let connections = self.relays.compactMap { self.pool?.connection($0) }
        let barrier = HearingBarrier(connections.count { $0.isOpen }, loop: self.loop, completion: heard)
        for (index, relay) in self.relays.enumerated() {
            guard let connection = self.pool?.connection(relay) else { continue }
            let path = PathID(rawValue: index)
            connection.addRecipient(key, catchesUp: false) {
                guard let connection = boundSelf.value.connection(path) else { return }
                bound.value.link.addPath(
                    path,
                    PathDescription(url: connection.url, information: connection.information)
                )
                barrier.arrived()
            }
        }
    }

    func unhear(_ key: PublicKey) {
        self.byKey[key] = nil
        for relay in self.relays { self.pool?.connection(relay)?.removeRecipient(key) }
    }

    // MARK: Sessions

    func session(of link: PeerLink) -> ExitSession? {
        self.byKey[link.currentKeys.own.publicKey].flatMap { $0.link === link ? $0 : nil }
            ?? self.sessions.first { $0.link === link }
    }

    /// The session between two keys; nil, and counted, if there is none.
    func session(recipient: PublicKey, author: PublicKey) -> ExitSession? {
        guard let session = self.byKey[recipient] else {
            self.metrics.rejected(.wrongRecipient)
            return nil
        }
        guard session.link.knows(recipient: recipient, author: author) else {
            self.metrics.rejected(.wrongAuthor)
            return nil
        }
        return session
    }

    /// Takes a verified event of a session. Returns the offer that it confirms, if it is the session's first.
    func receive(
        _ event: Event,
        _ session: ExitSession,
        recipient: PublicKey,
        relay: RelayPool.Key
    ) -> ExitSession.OfferID? {
        guard let path = self.index(of: relay) else { return nil }
        // What does not open is nobody's first packet.
        guard let message = session.link.open(event, recipient: recipient) else { return nil }
        guard !session.isEstablished else {
            session.link.receive(message, path: path)
            return nil
        }
        guard self.count < self.configuration.maximumSessions else {
            self.metrics.refusedSession(.tooManySessions)
            self.forget(session)
            return nil
        }
        self.establish(session)
        session.link.receive(message, path: path)
        return session.offer
    }

    /// Makes room for a session: the one goes that has had no stream for longest.
    func evictIdleSession() {
        // First one whose client no relay knows any more: it is gone, or starts anew.
        if let deserted = self.sessions.filter({ $0.isEstablished && $0.link.dialect.isDeserted })
            .min(by: { $0.startedAt < $1.startedAt })
        {
            deserted.link.close(.peerLost)
            return
        }
        let idle = self.sessions.filter { $0.isEstablished && $0.link.isIdle && $0.link.idleSince != nil }
        guard
            let oldest = idle.min(by: { ($0.link.idleSince ?? .now()) < ($1.link.idleSince ?? .now()) }),
            let since = oldest.link.idleSince, since + self.configuration.idleSessionAge <= .now()
        else { return }
        oldest.link.close(nil)
    }

    private func leaveWaiting(_ session: ExitSession) {
        session.repetition?.cancel()
        self.waiting.remove(session)?.abandon()
    }

    private func establish(_ session: ExitSession) {
        self.leaveWaiting(session)
        session.isEstablished = true
        self.count += 1
        self.metrics.sessionsOpened.increment()
        self.logger.debug("session began", metadata: ["peer": "\(session.offer.client)"])
    }

    func closed(_ link: PeerLink, _ reason: StreamEnd?) {
        guard let session = self.session(of: link) else { return }
        self.logger.debug(
            "session ended",
            metadata: ["peer": "\(session.offer.client)", "reason": "\(reason?.rawValue ?? "complete")"]
        )
        self.forget(session)
    }

    func forget(_ session: ExitSession) {
        guard self.byOffer.removeValue(forKey: session.offer) != nil else { return }
        self.leaveWaiting(session)
        // Early data may have opened a stream. One of which nothing is known yet has nothing to be told.
        if session.isEstablished || session.earlyBytes > 0 { session.link.close(.peerLost) }
        for key in session.link.ownKeys { self.unhear(key) }
        if session.isEstablished {
            session.isEstablished = false
            self.count -= 1
        }
        session.link.abandon()
    }

    func pathRefused(_ path: PathID) {
        guard self.relays.indices.contains(path.rawValue) else { return }
        let relay = self.relays[path.rawValue]
        guard self.refusedRelays.insert(relay).inserted else { return }
        self.logger.warning(
            "relay refuses events of unknown authors and carries no sessions; give it a key that it admits (--auth-key)",
            metadata: ["relay.url": "\(relay.url)"]
        )
    }
}
