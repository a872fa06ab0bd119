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
    /// The configured ones; the place of one in this list names its path, so one that goes away leaves its place empty.
    var relays: [RelayPool.Key?] = []
    /// The one that this node runs itself.
    var directRelay: RelayPool.Key?
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

    /// Connections of short-lived keys, and those to relays that clients named.
    static let lane = "session"
    static let clientLane = "session-client"
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

    func stop() {
        self.isStopped = true
        for session in self.sessions { session.link.close(.shuttingDown) }
        self.byKey = [:]
        self.byOffer = [:]
        self.waiting = WaitingOffers()
    }

    /// The links of sessions under way.
    var links: [PeerLink] { self.sessions.filter(\.isEstablished).map(\.link) }

    /// Each session once.
    var sessions: [ExitSession] {
        var seen: Set<ObjectIdentifier> = []
        return self.byKey.values.filter { seen.insert(ObjectIdentifier($0)).inserted }
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
            for relay in self.ownRelays {
                self.pool?.connection(relay)?.addRecipient(key.publicKey, catchesUp: false) {}
            }
        }
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
        guard let path = self.path(of: relay, session) else { return nil }
        // What does not open is nobody's first packet.
        guard let message = session.link.open(event, recipient: recipient) else { return nil }
        // The seal is the same both ways: an answer of ours that a relay sends back opens, too.
        guard SessionAnswer.isClientsPacket(message.plaintext) else {
            self.metrics.reported(.reflected)
            return nil
        }
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
        session.unanswered = [:]
        self.count += 1
        self.metrics.sessionsOpened.increment()
        self.logger.info("session began", metadata: ["peer": "\(session.offer.client)"])
        // Where there is a list, only who is on it learns the address.
        if self.configuration.access == nil { self.offerDirectRelay(to: session) }
    }

    func closed(_ link: PeerLink, _ reason: StreamEnd?) {
        guard let session = self.session(of: link) else { return }
        guard session.isEstablished else {
            self.forget(session)
            return
        }
        var metadata = link.summary
        metadata["peer"] = "\(session.offer.client)"
        metadata["reason"] = "\(reason?.rawValue ?? "complete")"
        if let identity = link.identity { metadata["identity"] = "\(identity.npub)" }
        self.logger.info("session ended", metadata: metadata)
        self.forget(session)
    }

    func forget(_ session: ExitSession) {
        guard self.byOffer.removeValue(forKey: session.offer) != nil else { return }
        self.leaveWaiting(session)
        // Early data may have opened a stream. One of which nothing is known yet has nothing to be told.
        if session.isEstablished || session.earlyBytes > 0 { session.link.close(.peerLost) }
        for key in session.link.ownKeys { self.unhear(key, session) }
        self.releaseClientRelays(of: session)
        if session.isEstablished {
            session.isEstablished = false
            self.count -= 1
        }
        session.link.abandon()
    }
}
