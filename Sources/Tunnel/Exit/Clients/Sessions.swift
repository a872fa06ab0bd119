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

/// The sessions of an exit, and the offers that wait for the client's first packet.
///
/// They do not share relay connections with the long-term key.
final class Sessions {
    private let context: ExitContext
    private let sessionRelays: SessionRelays
    private var relays: NumberedRelays { self.sessionRelays.numbered }
    private var sessions: [OfferID: IncomingSession] = [:]
    /// Offers that wait for the client's first packet, oldest first.
    private var waiting: [IncomingSession] = []
    /// Hashes of the offers that were accepted.
    private var accepted = EventDeduplicator()
    private var rejectingRelays: Set<RelayURL> = []
    private let limits: SessionLimits
    private let refusals: OfferRefusals
    weak var delegate: (any SessionsDelegate)?

    init(context: ExitContext) {
        self.context = context
        self.sessionRelays = SessionRelays(context: context)
        self.limits = SessionLimits(context: context)
        self.refusals = OfferRefusals(context: context)
        self.limits.delegate = self
    }

    func start() {
        self.use(self.context.configuration.relays)
        self.sessionRelays.start()
        self.limits.start()
    }

    // MARK: State

    var established: [IncomingSession] { self.sessions.values.filter(\.isEstablished) }

    /// Number of sessions that have begun.
    var count: Int { self.sessions.count - self.waiting.count }

    /// Adds the sessions to a status.
    func addStatus(to status: inout TunnelStatus) {
        for session in self.established {
            for path in session.link.engine.pathStatus {
                if let url = session.url(of: path.path) { status.add(path, of: url) }
            }
            status.peers.append(
                TunnelStatus.Peer(
                    session.link,
                    identity: session.identity,
                    device: self.context.configuration.comment(of: session.identity),
                    direct: session.directStatus
                )
            )
        }
    }

    // MARK: Relays

    /// Connects to these relays, and disconnects from all others. Running sessions continue on the remaining relays.
    func use(_ urls: [RelayURL]) {
        for (path, relay) in self.relays.all where !urls.contains(relay.url) {
            for session in self.sessions.values { session.removeRelay(path) }
            self.sessionRelays.remove(relay)
        }
        for (path, relay) in self.sessionRelays.add(urls) {
            let offer = SessionPathOffer(path: path, relay: self.context.configuration.advertised(relay.url).text)
            for session in self.sessions.values {
                session.addRelay(relay, as: path)
                session.announceRelay(offer)
            }
        }
    }

    // MARK: Offers

    /// Processes the offer of a session, or the query whether the exit still knows a session.
    ///
    /// - Parameters:
    ///   - url: The relay by which the offer arrived.
    ///   - known: The client whose proof the offer contains. Nil if the exit has no access list.
    func receive(_ offer: SessionOffer, from client: PublicKey, by url: RelayURL?, known: KnownClient?) {
        let arrival = self.arrival(url)
        func refuse(_ reason: StreamEnd) { self.refuse(offer, from: client, by: url, reason) }
        let terms = offer.body.flatMap { OfferTerms(encoded: $0) }
        if let refusal = known?.refusal {
            // A refusal of a query would end the session.
            guard refusal != .clockSkew || terms?.queriedSession == nil else { return }
            if let known { self.refusals.log(refusal, of: known) }
            return refuse(refusal)
        }
        guard offer.body != nil else { return refuse(.unsupportedVersion) }
        guard let terms else { return refuse(.protocolViolation) }
        guard case .session(let encapsulationKey) = terms.purpose else {
            if let key = terms.queriedSession, !self.hasSession(key, of: client) { refuse(.unknownSession) }
            return
        }
        let id = OfferID(client: client, key: offer.key)
        if let session = self.sessions[id] {
            let hash = offer.offer.hash(exit: self.context.key, client: client, uuid: offer.key)
            if session.isOffer(hash), session.mayAnswerAgain { session.answer(on: arrival?.path) }
            return
        }
        if self.count >= self.context.configuration.maximumSessions {
            self.limits.makeRoom(for: known?.identity.map { .identity($0) } ?? .relay(arrival?.path))
        }
        guard self.count < self.context.configuration.maximumSessions else { return refuse(.tooManySessions) }
        if self.waiting.count >= self.context.configuration.maximumOffers,
            let forgotten = SessionEviction.offerToForget(among: self.waiting.map(\.share))
        {
            // An honest client answers within a round trip, unlike a client that floods the exit with offers.
            self.forget(self.waiting[forgotten])
        }
        if known?.credential.kind == .ticket {
            let hash = offer.offer.hash(exit: self.context.key, client: client, uuid: offer.key)
            guard let hint = offer.offer.proof?.hint, self.delegate?.sessions(self, use: hint, by: hash) == true else {
                return refuse(.replayed)
            }
        }
        if known?.ticketIsUsed == true, terms.opening != nil {
            // This offer was accepted before, perhaps with its stream, by a session that is gone.
            return refuse(.replayed)
        }
        // Before a key of the reserve is used, because the client's key may be invalid.
        guard let encapsulated = try? KeyEncapsulation.encapsulate(to: encapsulationKey) else {
            return refuse(.protocolViolation)
        }
        var opening = self.opening(of: terms, known: known)
        if opening != nil {
            switch self.delegate?.sessions(self, admitOnce: offer, of: client) {
            case true?: break
            // The stream was opened before. Refuse explicitly: without an answer, the client would send the data again in
            // another session.
            case false?:
                self.context.metrics.reported(.replayedConnect)
                return refuse(.replayed)
            case nil: opening = nil
            }
        }
        do throws(CryptoError) {
            try self.begin(offer, id, terms.parameters, encapsulated, opening, known, arrival?.path)
        } catch {
            return refuse(.protocolViolation)
        }
        self.sessions[id]?.answer(on: arrival?.path)
    }

    /// Whether a session exists. An existing session answers a query with packets.
    private func hasSession(_ key: PublicKey, of client: PublicKey) -> Bool {
        self.sessions.values.contains { $0.link.sealer.opens(recipient: key, author: client) }
    }

    /// Returns the opening in an offer, if this exit accepts it.
    private func opening(of terms: OfferTerms, known: KnownClient?) -> OfferTerms.Opening? {
        // A thief of the exit's key can make proofs for every identity, so such a proof alone must not open a stream. A
        // ticket was sent to a client that had signed with its identity.
        let isAccepted =
            self.context.configuration.access == nil
            ? self.context.configuration.takesEarlyData
            : known?.credential.kind == .ticket
        return isAccepted ? terms.opening : nil
    }

    /// - Throws: If a key of the client is invalid.
    private func begin(
        _ offer: SessionOffer,
        _ id: OfferID,
        _ parameters: SessionParameters,
        _ encapsulated: KeyEncapsulation.Result,
        _ opening: OfferTerms.Opening?,
        _ known: KnownClient?,
        _ arrival: PathID?
    ) throws(CryptoError) {
        var configuration = self.context.session
        if self.context.configuration.access == nil { configuration.unusedSessionWindow = SessionLimits.unusedCredit }
        let accepted = try AcceptedOffer(
            offer,
            encapsulated: encapsulated,
            client: id.client,
            key: self.sessionRelays.takeKey(),
            exit: self.context.configuration.secretKey,
            grant: AcceptedOffer.Grant(
                parameters: SessionParameters(configuration),
                relays: self.relays.byNumber.map { relay in
                    relay.map { self.context.configuration.advertised($0.url).text } ?? ""
                },
                openedBytes: opening.map { UInt64($0.data.count) },
                wantsIdentity: self.context.configuration.access != nil
            ),
            credential: known?.credential
        )
        // The exit may have accepted the offer before and forgotten it.
        let isRepeated = !self.accepted.insert(EventID(accepted.hash))
        let session = IncomingSession(
            accepted,
            id: id,
            isRepeated: isRepeated,
            parameters: parameters,
            hasOpening: opening != nil,
            known: known,
            arrival: arrival,
            configuration: configuration,
            context: self.context
        )
        session.delegate = self
        self.sessions[id] = session
        self.waiting.append(session)
        self.delegate?.sessions(self, offerBegan: id)
        for (path, relay) in self.relays.all { session.addRelay(relay, as: path) }
        if let opening { session.open(opening) }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        let boundSession = NIOLoopBound(session, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: self.context.configuration.session.offerLifetime) {
            if !boundSession.value.isEstablished { bound.value.forget(boundSession.value) }
        }
    }

    private func arrival(_ url: RelayURL?) -> (path: PathID, relay: RelayConnection)? {
        self.relays.all.first { $0.relay.url == url }
    }

    /// Refuses an offer.
    ///
    /// - Parameter url: The relay by which it arrived.
    func refuse(_ offer: SessionOffer, from client: PublicKey, by url: RelayURL?, _ reason: StreamEnd) {
        self.refusals.refuse(offer, of: client, reason, on: self.arrival(url)?.relay, among: self.relays)
    }

    /// Discards an offer, because the client continues with plain NIP-74.
    func offerBecamePlain(_ id: OfferID) {
        if let session = self.sessions[id], !session.isEstablished { self.forget(session) }
    }

    // MARK: Permissions

    /// Ends the sessions of clients that no longer have a permission that they use.
    func enforceAccess() {
        guard let access = self.context.configuration.access else { return }
        let now = Moment.now.seconds
        for session in Array(self.sessions.values)
        where !Admission.mayContinue(session.owner, usedPorts: session.usedPorts, access: access, at: now)
            || (!session.isEnrolling && session.invite.map({ !access.contains(invite: $0, at: now) }) ?? false)
        {
            guard session.isEstablished else {
                self.forget(session)
                continue
            }
            self.context.logger.info(
                "session ended: the client no longer has access",
                metadata: session.clientMetadata
            )
            session.close(.notAllowed)
        }
    }

    // MARK: End

    /// Ends all sessions and discards all offers.
    func closeAll(_ reason: StreamEnd) {
        for session in Array(self.sessions.values) {
            session.close(reason)
            self.forget(session)
        }
    }

    func stop() {
        self.limits.stop()
        self.sessionRelays.stop()
        self.closeAll(.shuttingDown)
    }

    private func forget(_ session: IncomingSession) {
        guard self.sessions.removeValue(forKey: session.offer) != nil else { return }
        self.stopWaiting(session, hasBegun: false)
        session.stop()
    }

    private func stopWaiting(_ session: IncomingSession, hasBegun: Bool) {
        guard let index = self.waiting.firstIndex(where: { $0 === session }) else { return }
        self.waiting.remove(at: index)
        self.delegate?.sessions(self, offerEnded: session.offer, hasBegun: hasBegun)
    }
}

extension Sessions: SessionLimitsDelegate {}

extension Sessions: IncomingSessionDelegate {
    func session(_ session: IncomingSession, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        let decision = self.delegate?.sessions(self, isAskedFor: request, as: id, in: session)
        if case .accepted? = decision, !session.isUsed, session.isEstablished {
            self.delegate?.sessions(self, didUse: session.offer)
        }
        return decision ?? .refused(.shuttingDown)
    }

    func relays(of session: IncomingSession) -> NumberedRelays { self.relays }

    func session(_ session: IncomingSession, ticketFor identity: PublicKey) -> Bytes32? {
        self.delegate?.sessions(self, ticketFor: identity)
    }

    func sessionShouldBegin(_ session: IncomingSession) -> Bool {
        guard self.count < self.context.configuration.maximumSessions else {
            self.context.metrics.refusedSession(.tooManySessions)
            self.forget(session)
            return false
        }
        self.stopWaiting(session, hasBegun: true)
        if session.isUsed { self.delegate?.sessions(self, didUse: session.offer) }
        self.limits.sessionBegan(count: self.count)
        self.context.metrics.sessionsOpened.increment()
        self.context.logLimited(.info, "session began", ["peer": "\(session.offer.client)"], topic: .sessions)
        return true
    }

    func session(_ session: IncomingSession, didClose reason: StreamEnd?) {
        if session.isEstablished, session.isUsed || session.identity != nil {
            self.context.audit?.write(session.auditRecord(reason))
        }
        if session.isEstablished {
            var metadata = session.link.summary.merging(session.clientMetadata) { first, _ in first }
            metadata["reason"] = "\(reason?.rawValue ?? "complete")"
            self.context.logLimited(.info, "session ended", metadata, topic: .sessions)
        }
        self.forget(session)
    }

    func session(_ session: IncomingSession, wasRejectedBy relay: RelayConnection) {
        guard self.rejectingRelays.insert(relay.url).inserted else { return }
        self.context.logger.warning(
            "relay rejects events of unknown authors, so it carries no sessions",
            metadata: [
                "relay.url": "\(relay.url)",
                "remedy": "\(self.context.configuration.remedyText(.relayAuthenticationKey))",
            ]
        )
    }
}
