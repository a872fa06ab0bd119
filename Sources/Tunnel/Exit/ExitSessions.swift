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
    private var configuration: ExitConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    private let metrics: TunnelMetrics
    private let onIncoming: PeerLink.IncomingHandler
    /// Enters an offer among the CONNECTs that were dialled; false if it is there.
    private let admitOnce: (SessionOffer, PublicKey) -> Bool

    private var pool: RelayPool?
    private var relays: [RelayPool.Key] = []
    /// By our key; a session has two while it changes keys.
    private var byKey: [PublicKey: ExitSession] = [:]
    /// Offers without a packet so far, oldest first.
    private var waiting: [ExitSession] = []
    private var isStopped = false
    private var sessionCount = 0
    /// Sessions under way.
    var count: Int { self.sessionCount }
    /// Keys that relays know already, so that an acceptance need not wait for a subscription.
    private var spares: [SecretKey] = []
    private var sparesAreDue = false
    private var refusedRelays: Set<RelayPool.Key> = []

    /// Connections of short-lived keys.
    static let lane = "session"
    /// Keys made ahead, and how few are left when more are made.
    private static let spareKeys = (most: 8, least: 3)
    /// Repetitions of an acceptance by the clock; the client's own bring more.
    private static let maximumRepetitions = 3

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
        self.waiting = []
    }

    // MARK: Relays

    private func connection(_ path: PathID) -> RelayConnection? {
        guard self.relays.indices.contains(path.rawValue) else { return nil }
        return self.pool?.connection(self.relays[path.rawValue])
    }

    private func index(of relay: RelayPool.Key) -> PathID? {
        self.relays.firstIndex(of: relay).map(PathID.init(rawValue:))
    }

    /// The links of sessions under way.
    var links: [PeerLink] { self.sessions.filter(\.isEstablished).map(\.link) }

    func url(of path: PathID) -> RelayURL? {
        self.relays.indices.contains(path.rawValue) ? self.relays[path.rawValue].url : nil
    }

    /// Each session once.
    private var sessions: [ExitSession] {
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
    private func makeSparesLater() {
        guard !self.sparesAreDue else { return }
        self.sparesAreDue = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: .milliseconds(50)) {
            bound.value.sparesAreDue = false
            if !bound.value.isStopped { bound.value.makeSpares() }
        }
    }

    private func makeSpares() {
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
    private func hear(_ key: PublicKey, _ session: ExitSession, heard: @escaping () -> Void = {}) {
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

    private func unhear(_ key: PublicKey) {
        self.byKey[key] = nil
        for relay in self.relays { self.pool?.connection(relay)?.removeRecipient(key) }
    }

    // MARK: Offers

    /// A client offers a session, or asks whether there still is one.
    func receive(_ offer: SessionOffer, from client: PublicKey) {
        if let named = offer.terms.session {
            // A session that is here answers for itself, with packets.
            if self.byKey[named]?.link.knows(recipient: named, author: client) == true { return }
            self.refuse(offer, client, .unknownSession)
            return
        }
        let id = ExitSession.OfferID(client: client, key: offer.key)
        if let session = self.waiting.first(where: { $0.offer == id }) {
            // One answer for each interval, however often the offer comes.
            if session.acceptedAt + .nanoseconds(self.configuration.session.offerRepetition.nanoseconds / 2) <= .now() {
                self.accept(session, offer)
            }
            return
        }
        guard !self.byKey.values.contains(where: { $0.offer == id }) else { return }
        if self.sessionCount >= self.configuration.maximumSessions { self.evictIdleSession() }
        guard self.sessionCount < self.configuration.maximumSessions else {
            self.refuse(offer, client, .tooManySessions)
            return
        }
        if self.waiting.count >= self.configuration.maximumOffers, let oldest = self.waiting.first {
            // An honest client answers within a round trip; who fills the list does not.
            self.forget(oldest)
        }
        // Nobody knows yet whose early data that is, where there is a list.
        let early = self.configuration.takesEarlyData && self.configuration.access == nil ? offer.terms.earlyData : nil
        if early != nil, !self.admitOnce(offer, client) {
            // It was passed on, and perhaps the session is gone since: the client must not send it again as if it had not.
            self.metrics.reported(.replayedConnect)
            self.refuse(offer, client, .replayed)
            return
        }
        guard let session = self.makeSession(offer, id) else { return }
        self.waiting.append(session)
        if let early {
            session.earlyBytes = early.bytes.count
            session.link.receiveEarly(StreamRequest(destination: "", port: early.port), early.bytes)
        }
        self.accept(session, offer)
        self.expireLater(session)
    }

    private func makeSession(_ offer: SessionOffer, _ id: ExitSession.OfferID) -> ExitSession? {
        let key = self.spares.popLast() ?? .generate()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let link: PeerLink
        do {
            link = try PeerLink(
                peer: id.client,
                ownKey: key,
                dialect: SessionStateMachine(
                    role: .exit,
                    configuration: self.configuration.session,
                    peer: offer.terms.parameters,
                    now: Moment.now
                ),
                loop: self.loop,
                metrics: self.metrics,
                logger: self.logger,
                owner: PeerLink.Owner(
                    hear: { bound.value.hear($1, of: $0, heard: $2) },
                    unhear: { bound.value.unhear($1) },
                    identified: { bound.value.identify($0, $1) },
                    pathRefused: { bound.value.pathRefused($1) },
                    closed: { link, reason in bound.value.closed(link, reason) }
                ),
                connections: { bound.value.connection($0) },
                onIncoming: self.onIncoming
            )
        } catch {
            self.metrics.rejected(.invalidSignature)
            return nil
        }
        let session = ExitSession(offer: id, fresh: key.publicKey, link: link)
        self.hear(key.publicKey, session)
        self.makeSparesLater()
        return session
    }

    private func hear(_ key: PublicKey, of link: PeerLink, heard: @escaping () -> Void) {
        guard let session = self.session(of: link) else { return }
        self.hear(key, session, heard: heard)
    }

    /// Says yes, on every relay: the client learns by each which of ours it is.
    private func accept(_ session: ExitSession, _ offer: SessionOffer) {
        var parameters = SessionParameters(self.configuration.session)
        parameters.earlyBytes = UInt64(session.earlyBytes)
        parameters.wantsIdentity = self.configuration.access != nil
        session.acceptedAt = .now()
        for index in self.relays.indices {
            let path = PathID(rawValue: index)
            let acceptance = SessionAcceptance(
                key: offer.key,
                path: path,
                parameters: parameters,
                relays: self.relays.map(\.url.text)
            )
            let answer = SessionAnswer.accepted(acceptance)
            session.acceptanceHashes.insert(Bytes32.sha256(of: answer.body))
            self.publish(answer, by: session.link, to: offer.plaintextHash, on: path)
        }
        self.acceptAgainLater(session, offer)
    }

    private func acceptAgainLater(_ session: ExitSession, _ offer: SessionOffer) {
        guard session.repetitions < Self.maximumRepetitions, session.repetition == nil,
            self.waiting.count < self.configuration.maximumOffers / 2
        else { return }
        let wait = TimeAmount.nanoseconds(
            self.configuration.session.offerRepetition.nanoseconds << Int64(session.repetitions)
        )
        session.repetitions += 1
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundSession = NIOLoopBound(session, eventLoop: self.loop)
        session.repetition = self.loop.scheduleTask(in: wait) {
            boundSession.value.repetition = nil
            guard !boundSession.value.isEstablished,
                bound.value.waiting.contains(where: { $0 === boundSession.value })
            else { return }
            bound.value.accept(boundSession.value, offer)
        }
    }

    private func refuse(_ offer: SessionOffer, _ client: PublicKey, _ reason: StreamEnd) {
        self.metrics.refusedSession(reason)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        // A key for this answer alone.
        guard
            let link = try? PeerLink(
                peer: client,
                ownKey: .generate(),
                dialect: NIP74Dialect(role: .exit(client: client)),
                loop: self.loop,
                metrics: self.metrics,
                logger: self.logger,
                connections: { bound.value.connection($0) }
            )
        else { return }
        for index in self.relays.indices {
            self.publish(
                .refused(SessionRefusal(key: offer.key, reason: reason)),
                by: link,
                to: offer.plaintextHash,
                on: PathID(rawValue: index)
            )
        }
    }

    private func publish(_ answer: SessionAnswer, by link: PeerLink, to hash: Bytes32, on path: PathID) {
        let body = answer.body
        let signed = SessionAnswer.signedHash(
            exit: self.configuration.secretKey.publicKey,
            client: link.currentKeys.peer,
            fresh: link.currentKeys.own.publicKey,
            offerHash: hash,
            body: body
        )
        guard let signature = try? self.configuration.secretKey.sign(signed) else { return }
        link.publish(body + signature.bytes, on: path)
    }

    private func expireLater(_ session: ExitSession) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let boundSession = NIOLoopBound(session, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: self.configuration.session.offerLifetime) {
            guard !boundSession.value.isEstablished else { return }
            bound.value.forget(boundSession.value)
        }
    }

    /// The client did not hear the acceptance and speaks plain NIP-74.
    func offerBecamePlain(_ client: PublicKey, _ key: String) {
        let id = ExitSession.OfferID(client: client, key: key)
        if let session = self.waiting.first(where: { $0.offer == id }) { self.forget(session) }
    }

    // MARK: Identities

    private func identify(_ link: PeerLink, _ identity: ClientIdentity) -> PublicKey? {
        guard let session = self.session(of: link) else { return nil }
        let isProven = identity.isProven(
            exit: self.configuration.secretKey.publicKey,
            client: session.offer.client,
            fresh: session.fresh,
            acceptanceHashes: session.acceptanceHashes
        )
        return isProven ? identity.publicKey : nil
    }

    /// Whether the client of a session may open the service at a port.
    func mayOpen(_ port: UInt16?, _ link: PeerLink) -> Bool {
        guard let access = self.configuration.access else { return true }
        guard access.allows(link.identity, port: port, at: Moment.now.seconds) else { return false }
        if let port { self.session(of: link)?.usedPorts.insert(port) }
        return true
    }

    private func endAll(_ reason: StreamEnd) {
        for session in self.sessions {
            session.link.close(reason)
            self.forget(session)
        }
    }

    /// Takes another list, and ends the sessions of those who lost what they use.
    func update(_ configuration: ExitConfiguration) {
        let becomesPrivate = self.configuration.access == nil && configuration.access != nil
        self.configuration.access = configuration.access
        // Nobody who came before the list was asked who it is.
        if becomesPrivate { self.endAll(.notAllowed) } else { self.enforceAccess() }
    }

    /// Keeps what all sessions hold within its limit.
    private func enforceMemoryLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: .seconds(1)) {
            guard !bound.value.isStopped else { return }
            bound.value.enforceMemory()
            bound.value.enforceMemoryLater()
        }
    }

    private func enforceMemory() {
        guard self.sessionCount > 0 else { return }
        var holders = self.sessions.map { ($0, $0.link.dialect.heldBytes) }.sorted { $0.1 < $1.1 }
        var total = holders.reduce(0) { $0 + $1.1 }
        while total > self.configuration.maximumHeldBytes, let (session, held) = holders.popLast(), held > 0 {
            self.logger.warning(
                "session ended: its streams hold too much that services do not take",
                metadata: ["peer": "\(session.offer.client)", "bytes": "\(held)"]
            )
            total -= held
            session.link.close(.readerTooSlow)
        }
    }

    /// Ends the sessions of clients whose permission is gone or over.
    func enforceAccess() {
        guard let access = self.configuration.access else { return }
        let now = Moment.now.seconds
        for session in self.sessions where session.isEstablished {
            guard !session.usedPorts.allSatisfy({ access.allows(session.link.identity, port: $0, at: now) }) else {
                continue
            }
            self.logger.info("client is not allowed any more", metadata: ["peer": "\(session.offer.client)"])
            session.link.close(.notAllowed)
        }
    }

    // MARK: Links of NIP-74 that hold an offer

    /// The link by which a client offered a session that waits.
    func heldLink(of client: PublicKey) -> PeerLink? {
        self.waiting.first { $0.offer.client == client }?.offering
    }

    /// Keeps a link with its offer's session. False if there is none.
    func hold(_ link: PeerLink) -> Bool {
        guard let session = self.waiting.last(where: { $0.offer.client == link.peer }) else { return false }
        session.offering = link
        return true
    }

    /// The link has streams, and is kept for their sake.
    func release(_ link: PeerLink) {
        for session in self.waiting where session.offering === link { session.offering = nil }
    }

    func forHeldLinks(_ body: (PeerLink) -> Void) {
        for session in self.waiting { if let link = session.offering { body(link) } }
    }

    // MARK: Sessions

    private func session(of link: PeerLink) -> ExitSession? {
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
        guard !session.isEstablished else {
            session.link.receive(event, recipient: recipient, path: path)
            return nil
        }
        // What does not open is nobody's first packet.
        guard session.link.canOpen(event, recipient: recipient) else { return nil }
        guard self.sessionCount < self.configuration.maximumSessions else {
            self.metrics.reported(.tooManyStreams)
            self.forget(session)
            return nil
        }
        self.establish(session)
        session.link.receive(event, recipient: recipient, path: path)
        return session.offer
    }

    /// Makes room for a session: the one goes that has had no stream for longest.
    private func evictIdleSession() {
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

    private func dropOffering(_ session: ExitSession) {
        guard let link = session.offering else { return }
        session.offering = nil
        // Another offer of the client may wait with it.
        if link.streamCount == 0, !self.waiting.contains(where: { $0.offering === link }) { link.abandon() }
    }

    private func establish(_ session: ExitSession) {
        self.dropOffering(session)
        session.isEstablished = true
        session.repetition?.cancel()
        self.waiting.removeAll { $0 === session }
        self.sessionCount += 1
        self.metrics.sessionsOpened.increment()
        self.logger.debug("session began", metadata: ["peer": "\(session.offer.client)"])
    }

    private func closed(_ link: PeerLink, _ reason: StreamEnd?) {
        guard let session = self.session(of: link) else { return }
        self.logger.debug(
            "session ended",
            metadata: ["peer": "\(session.offer.client)", "reason": "\(reason?.rawValue ?? "complete")"]
        )
        self.forget(session)
    }

    private func forget(_ session: ExitSession) {
        guard !session.isForgotten else { return }
        session.isForgotten = true
        self.dropOffering(session)
        // Early data may have opened a stream. One of which nothing is known yet has nothing to be told.
        if session.isEstablished || session.earlyBytes > 0 { session.link.close(.peerLost) }
        for key in session.link.ownKeys { self.unhear(key) }
        session.repetition?.cancel()
        self.waiting.removeAll { $0 === session }
        if session.isEstablished {
            session.isEstablished = false
            self.sessionCount -= 1
        }
        session.link.abandon()
    }

    private func pathRefused(_ path: PathID) {
        guard self.relays.indices.contains(path.rawValue) else { return }
        let relay = self.relays[path.rawValue]
        guard self.refusedRelays.insert(relay).inserted else { return }
        self.logger.warning(
            "relay refuses events of unknown authors and carries no sessions; give it a key that it admits (--auth-key)",
            metadata: ["relay.url": "\(relay.url)"]
        )
    }
}
