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

/// Offers, and what is answered to them.
extension ExitSessions {
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
        if let session = self.byOffer[id] {
            guard !session.isEstablished else { return }
            // One answer for each interval, however often the offer comes.
            if session.acceptedAt + .nanoseconds(self.configuration.session.offerRepetition.nanoseconds / 2) <= .now() {
                self.accept(session, offer)
            }
            return
        }
        if self.count >= self.configuration.maximumSessions { self.evictIdleSession() }
        guard self.count < self.configuration.maximumSessions else {
            self.refuse(offer, client, .tooManySessions)
            return
        }
        if self.waiting.count >= self.configuration.maximumOffers, let oldest = self.waiting.oldest {
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
        self.waiting.insert(session)
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
                    unhear: { bound.value.unhear($1, bound.value.session(of: $0)) },
                    identified: { bound.value.identify($0, $1) },
                    pathRefused: { bound.value.pathRefused($1) },
                    pathOffered: { bound.value.takePath($1, of: $0) },
                    closed: { link, reason in bound.value.closed(link, reason) }
                ),
                connections: { bound.value.connection($0, of: id) },
                onIncoming: self.onIncoming
            )
        } catch {
            self.metrics.rejected(.invalidSignature)
            return nil
        }
        let session = ExitSession(offer: id, fresh: key.publicKey, link: link)
        self.byOffer[id] = session
        self.hear(key.publicKey, session)
        self.makeSparesLater()
        return session
    }

    func hear(_ key: PublicKey, of link: PeerLink, heard: @escaping () -> Void) {
        guard let session = self.session(of: link) else { return }
        self.hear(key, session, heard: heard)
    }

    /// Says yes, on every relay: the client learns by each which of ours it is.
    func accept(_ session: ExitSession, _ offer: SessionOffer) {
        session.acceptedAt = .now()
        for index in self.relays.indices where self.relays[index] != nil {
            let path = PathID(rawValue: index)
            // What the client sends at once must not come before the relay knows for whom it is.
            if self.connection(path)?.hasAsked(for: session.fresh) == true {
                self.accept(session, offer, on: path)
            } else {
                session.unanswered[path] = offer
            }
        }
        self.acceptAgainLater(session, offer)
    }

    private func accept(_ session: ExitSession, _ offer: SessionOffer, on path: PathID) {
        session.unanswered[path] = nil
        var parameters = SessionParameters(self.configuration.session)
        parameters.earlyBytes = UInt64(session.earlyBytes)
        parameters.wantsIdentity = self.configuration.access != nil
        let acceptance = SessionAcceptance(
            key: offer.key,
            path: path,
            parameters: parameters,
            relays: self.pathNames
        )
        let answer = SessionAnswer.accepted(acceptance)
        session.acceptanceHashes.insert(Bytes32.sha256(of: answer.body))
        self.publish(answer, by: session.link, to: offer.plaintextHash, on: path)
    }

    /// A relay knows the session's key now.
    func answerUnanswered(_ session: ExitSession, on path: PathID) {
        guard let offer = session.unanswered.removeValue(forKey: path), !session.isEstablished,
            self.waiting.contains(session)
        else { return }
        self.accept(session, offer, on: path)
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
                bound.value.waiting.contains(boundSession.value)
            else { return }
            bound.value.accept(boundSession.value, offer)
        }
    }

    func refuse(_ offer: SessionOffer, _ client: PublicKey, _ reason: StreamEnd) {
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
        for index in self.relays.indices where self.relays[index] != nil {
            self.publish(
                .refused(SessionRefusal(key: offer.key, reason: reason)),
                by: link,
                to: offer.plaintextHash,
                on: PathID(rawValue: index)
            )
        }
    }

    func publish(_ answer: SessionAnswer, by link: PeerLink, to hash: Bytes32, on path: PathID) {
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
        if let session = self.byOffer[id], !session.isEstablished { self.forget(session) }
    }
}
