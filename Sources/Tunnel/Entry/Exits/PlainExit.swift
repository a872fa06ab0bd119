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

/// Is notified of changes of a ``PlainExit``.
protocol PlainExitDelegate: AnyObject {
    /// The exit accepted the offer. The link is not used any more.
    ///
    /// - Parameters:
    ///   - earlyBytes: Number of bytes of early data that the exit accepted.
    ///   - relay: The relay that delivered the acceptance.
    func plainExit(
        _ exit: PlainExit,
        didBegin session: OutgoingSession,
        earlyBytes: Int,
        on relay: RelayConnection
    )
    /// The exit did not accept the offer in time, or sent plain data. The offer's stream is now an open stream of plain
    /// NIP-74: call ``PlainExit/handOverOffer(to:)``.
    func plainExitDidFallBack(_ exit: PlainExit)
    /// The exit refused the offer, was not reachable, or did not accept a session and plain NIP-74 is not allowed with
    /// it.
    func plainExit(_ exit: PlainExit, didFailToOffer reason: StreamEnd)
    /// The exit does not accept the ticket. Offer a session with the client's identity.
    func plainExitNeedsOtherCredential(_ exit: PlainExit)
    /// The acceptance arrived after the fallback. It shows that the exit supports sessions.
    func plainExit(_ exit: PlainExit, didAcceptLate terms: AcceptanceTerms)
    /// The last stream ended.
    func plainExitDidBecomeIdle(_ exit: PlainExit)
}

/// A link to an exit in plain NIP-74. It is used to offer a session, and carries the streams if the exit does not
/// accept the offer.
final class PlainExit {
    let link: PlainLink
    private let address: ExitAddress
    private var exit: PublicKey { self.address.publicKey }
    private let ownKey: SecretKey
    private let destination: String
    private let context: EntryContext
    weak var delegate: (any PlainExitDelegate)?
    /// The offer that an answer may belong to. It is kept after a fallback, because the exit may accept late.
    private var offering: SessionOffering?
    /// An earlier offer with a ticket, which the exit has not answered. Its answer is still accepted.
    private var earlierOffering: SessionOffering?
    /// Limits the rate at which answers of unknown authors are decrypted. Each needs a Diffie-Hellman key agreement.
    private var answers = TokenBucket(perSecond: EntryConfiguration.answersPerSecond, now: .now())
    /// Whether the exit has not yet answered the offer, and the offer's time has not passed.
    private var isOffering = false
    private var seen = EventDeduplicator(capacity: 8_192)
    /// Whether the exit did not connect to this entry when it was requested to (CONNECTR).
    private var ignoresReverse = false

    /// Nil if the exit's key is not on the curve.
    init?(_ address: ExitAddress, ownKey: SecretKey, context: EntryContext) {
        let destination = NostrName(publicKey: address.publicKey, relays: address.relays).encoded
        var configuration = context.configuration.nip74
        let session = context.configuration.session
        configuration.fallbackDelay = (session.fallbackDelay, session.offerTimeout)
        configuration.offerRepetition = session.offerRepetition
        guard let sealer = try? MessageSealer(own: ownKey, peer: address.publicKey) else { return nil }
        self.link = PlainLink(
            sealer: sealer,
            engine: NIP74StateMachine(role: .entry(name: destination), configuration: configuration),
            loop: context.loop,
            metrics: context.metrics,
            logger: context.logger
        )
        self.address = address
        self.ownKey = ownKey
        self.destination = destination
        self.context = context
        link.delegate = self
    }

    /// Processes an event for the client's key: a message of the exit, or its answer to the offer, whose author is a new
    /// key.
    ///
    /// - Parameter path: The relay's path. Nil if the relay is not in use.
    func receive(_ event: Event, for key: PublicKey, on relay: RelayConnection, path: PathID?) {
        guard event.pubkey == self.exit, let path else { return self.receiveAnswer(event, on: relay) }
        guard !self.seen.contains(event.id) else { return self.context.metrics.rejected(.duplicate) }
        guard self.context.verifier.verify(event), self.seen.insert(event.id),
            let message = self.link.open(event, recipient: key)
        else { return }
        self.link.receive(message, path: path)
    }

    // MARK: Offer

    /// Offers a session.
    ///
    /// - Parameters:
    ///   - credential: The secret for the proof that the exit knows the client. Nil for an offer without a proof.
    ///   - opening: The stream to open together with the session.
    ///   - mayFallBack: Whether plain NIP-74 may follow.
    ///   - paths: The paths on which the exit may listen.
    func offer(
        credential: Credential?,
        opening: OfferTerms.Opening?,
        mayFallBack: Bool,
        paths: [PathID]
    ) throws(CryptoError) {
        let offering = try SessionOffering(
            to: self.exit,
            ownKey: self.ownKey,
            parameters: SessionParameters(self.context.session),
            opening: opening,
            credential: credential,
            mayFallBack: mayFallBack,
            date: self.link.date
        )
        offering.delegate = self
        // A relay that reports a wrong time could hold the offer back and have its stream opened much later.
        self.link.datesByOwnClock = opening != nil
        let earlier = self.offering
        self.earlierOffering = earlier
        self.offering = offering
        self.isOffering = true
        self.link.open(offering: offering.outgoing, paths: paths, endpoint: offering)
        if let earlier {
            // The earlier offer is not repeated.
            self.link.update { $0.offerSettled(earlier.outgoing.key, at: $1) }
            earlier.discardStream()
        }
        if credential?.kind == .ticket, !offering.hasSentData { self.replaceTicketLater() }
    }

    /// Asks for an offer with the client's identity, if the exit does not answer the offer with a ticket. It may not know
    /// the ticket any more.
    private func replaceTicketLater() {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: EntryConfiguration.ticketTimeout) {
            let exit = bound.value
            guard exit.isOffering, exit.offering?.credential?.kind == .ticket else { return }
            exit.delegate?.plainExitNeedsOtherCredential(exit)
        }
    }

    /// Returns the exit's answer in an event, with the offer that it answers. Counts any other event as rejected and returns
    /// nil.
    private func answer(
        in event: Event
    ) -> (answer: SessionAnswer, offering: SessionOffering, sealer: MessageSealer)? {
        guard self.answers.take(at: .now()) else {
            self.context.metrics.rejected(.tooManyHandshakes)
            return nil
        }
        guard self.context.verifier.admit(event) else { return nil }
        if let sealer = try? MessageSealer(own: self.ownKey, peer: event.pubkey),
            let message = try? sealer.open(event, recipient: self.ownKey.publicKey)
        {
            for offering in [self.offering, self.earlierOffering].compactMap({ $0 }) {
                guard let answer = offering.answer(in: message, sealer: sealer) else { continue }
                return (answer, offering, sealer)
            }
        }
        self.context.metrics.rejected(.invalidAnswer)
        self.context.logger.debug("invalid answer dropped", metadata: ["author": "\(event.pubkey)"])
        return nil
    }

    private func receiveAnswer(_ event: Event, on relay: RelayConnection) {
        guard self.offering != nil else { return self.context.metrics.rejected(.wrongAuthor) }
        guard let (answer, offering, sealer) = self.answer(in: event) else { return }
        switch answer {
        case .accepted(let acceptance) where self.isOffering:
            let accepted: AcceptedSession
            let session: OutgoingSession
            do {
                accepted = try offering.complete(acceptance, sealer: sealer)
                session = try OutgoingSession(
                    accepted,
                    address: self.address,
                    destination: self.destination,
                    context: self.context
                )
            } catch {
                return self.context.metrics.rejected(.invalidAnswer)
            }
            offering.settle()
            self.offering = nil
            self.earlierOffering = nil
            self.isOffering = false
            self.link.update { $0.offerSettled(offering.outgoing.key, at: $1) }
            self.delegate?.plainExit(self, didBegin: session, earlyBytes: accepted.openedBytes ?? 0, on: relay)
        case .accepted(let answered):
            self.offering = nil
            self.delegate?.plainExit(self, didAcceptLate: answered.terms)
        case .refused(let refusal):
            guard self.isOffering, offering === self.offering else { return }
            // After an offer with data, another one could deliver the data twice.
            if refusal.reason == .replayed, offering.credential?.kind == .ticket, !offering.hasSentData {
                self.delegate?.plainExitNeedsOtherCredential(self)
            } else {
                self.delegate?.plainExit(self, didFailToOffer: refusal.reason)
            }
        }
    }

    /// Passes the offer's stream to the opening of a client, after a fallback. Resets the stream if no client needs it.
    func handOverOffer(to opening: StreamOpening?) {
        if let opening { self.offering?.handOver(to: opening) } else { self.offering?.discardStream() }
    }

    // MARK: Streams

    /// Opens a stream.
    ///
    /// - Parameter paths: The paths on which the exit may listen, in order of preference.
    func open(_ opening: StreamOpening, _ request: StreamRequest, paths: [(path: PathID, relay: RelayConnection)]) {
        if self.openReverse(opening, request, paths) { return }
        self.link.open(request, paths: paths.map(\.path), endpoint: opening)
    }

    /// Requests that the exit connect to this entry (CONNECTR). Returns false if the stream must use relays instead.
    private func openReverse(
        _ opening: StreamOpening,
        _ request: StreamRequest,
        _ paths: [(path: PathID, relay: RelayConnection)]
    ) -> Bool {
        guard let address = self.context.configuration.publicAddress, !self.ignoresReverse else { return false }
        let key = EntryContext.makeUUID()
        let isWaiting = self.context.reverse.expect(key, opening) { [weak self] in
            self?.reverseTimedOut(opening, request, paths)
        }
        guard isWaiting else {
            self.context.metrics.reached(.reverseConnections)
            return false
        }
        let message = NIP74Message.connectReverse(key: key, destination: self.destination, address: "\(address)")
        if let sealed = try? self.link.sealer.seal(message.encoded(), createdAt: self.link.date) {
            for relay in paths.map(\.relay) where relay.isOpen { sealed.publish(on: relay) { _ in } }
        }
        return true
    }

    /// The exit did not connect: it is not configured to, or cannot reach this entry. Its streams use relays from now
    /// on.
    private func reverseTimedOut(
        _ opening: StreamOpening,
        _ request: StreamRequest,
        _ paths: [(path: PathID, relay: RelayConnection)]
    ) {
        if !self.ignoresReverse {
            self.ignoresReverse = true
            self.context.logger.info(
                "exit does not connect to the public address of this entry; using relays instead",
                metadata: ["exit": "\(self.exit.npub)"]
            )
        }
        self.link.open(request, paths: paths.map(\.path), endpoint: opening)
    }
}

extension PlainExit: SessionOfferingDelegate {
    func offeringDidFallBack(_ offering: SessionOffering) {
        self.isOffering = false
        self.delegate?.plainExitDidFallBack(self)
    }

    func offering(_ offering: SessionOffering, didFail reason: StreamEnd) {
        if self.isOffering, offering === self.offering { self.delegate?.plainExit(self, didFailToOffer: reason) }
    }
}

extension PlainExit: PeerLinkDelegate {
    func link(_ link: PlainLink, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        .refused(.notAllowed)
    }

    func link(_ link: PlainLink, didReceive signal: NIP74Signal) {
        switch signal {
        case .exitSentData: self.context.memory.recordPlain(self.exit)
        // Only exits receive these signals.
        case .offered, .outdated, .reverse: break
        }
    }

    func link(_ link: PlainLink, wasRejectedBy relay: RelayConnection) { self.context.warnOfRejection(by: relay) }

    func linkDidBecomeIdle(_ link: PlainLink) { self.delegate?.plainExitDidBecomeIdle(self) }
}
