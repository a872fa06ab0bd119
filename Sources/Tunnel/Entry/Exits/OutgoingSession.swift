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

/// The owner of an ``OutgoingSession``. Provides the connections to the exit's relays, and is notified when the session
/// ends.
protocol OutgoingSessionDelegate: AnyObject {
    /// Returns the connection to a relay that the exit uses. Nil if the relay may not be used.
    func session(_ session: OutgoingSession, needsRelay url: RelayURL) -> RelayConnection?
    /// The exit does not answer. Ask it with ``OutgoingSession/askExit(on:)`` whether it still knows the session.
    func sessionIsUnanswered(_ session: OutgoingSession)
    func sessionDidBecomeIdle(_ session: OutgoingSession)
    /// The session has ended. The reason is nil if no error occurred.
    func session(_ session: OutgoingSession, didClose reason: StreamEnd?)
}

/// A session with an exit, from the exit's acceptance to its end (entry).
final class OutgoingSession {
    private let driver: SessionDriver
    private let address: ExitAddress
    private var exit: PublicKey { self.address.publicKey }
    private let destination: String
    private let acceptance: SessionAcceptance
    private let context: EntryContext
    weak var delegate: (any OutgoingSessionDelegate)?
    /// The key with which this session is signed; nil if the exit does not learn who the client is.
    private let identity: SecretKey?
    /// The offer, while another exit with the same key may accept it. Then it is nil, so that its keys are erased.
    private var offering: SessionOffering?
    private var query: SessionQuery?
    /// Limits the events of unknown authors that are verified.
    private var strangers = TokenBucket(perSecond: EntryConfiguration.answersPerSecond, now: .now())
    /// The relays that the exit has named.
    private var named: [PathID: RelayURL] = [:]
    /// Number of tickets that the exit has sent.
    private var tickets = 0
    private static let maximumTickets = TicketStore.maximumPerExit
    /// Number of queries to the exit since it stopped answering.
    private var queries = 0
    private var lastQuery: NIODeadline?
    private var lastWarning: NIODeadline?

    /// The count of queries is reset if no query was needed for this long.
    private static let silence: TimeAmount = .seconds(40)
    /// How long after the acceptance another answer to the offer is expected.
    private static let twinWindow: TimeAmount = .seconds(10)
    private static let warningInterval: TimeAmount = .minutes(1)

    var link: SessionLink { self.driver.link }

    /// - Parameters:
    ///   - accepted: The exit's acceptance.
    ///   - destination: The exit's name.
    /// - Throws: If signing the identity fails.
    init(_ accepted: AcceptedSession, address: ExitAddress, destination: String, context: EntryContext) throws {
        self.address = address
        self.destination = destination
        self.acceptance = accepted.acceptance
        self.context = context
        self.offering = accepted.offering
        self.identity = Self.identity(accepted, to: address, context)
        var configuration = context.session
        configuration.opensAtOnce = context.configuration.isOptimistic
        let identity = self.identity
        let link = SessionLink(
            sealer: accepted.sealer,
            engine: SessionStateMachine(
                role: .client,
                configuration: configuration,
                peer: accepted.acceptance.terms.parameters,
                identity: try identity.map { try ClientIdentity($0, generation: 0, transcript: accepted.transcript) },
                now: Moment.now
            ),
            loop: context.loop,
            metrics: context.metrics,
            logger: context.logger
        )
        self.driver = SessionDriver(
            link,
            exchange: accepted.exchange,
            loop: context.loop,
            metrics: context.metrics,
            logger: context.logger
        )
        self.driver.delegate = self
        let bound = NIOLoopBound(self, eventLoop: context.loop)
        _ = context.loop.scheduleTask(in: Self.twinWindow) { bound.value.offering = nil }
    }

    /// The identity, if the exit requires it and has proven that it knows it. No other exit learns who the client is.
    private static func identity(
        _ accepted: AcceptedSession,
        to address: ExitAddress,
        _ context: EntryContext
    ) -> SecretKey? {
        // A device with an invite has no identity at the exit yet.
        guard accepted.acceptance.terms.wantsIdentity, accepted.offering.credential?.kind != .invite else { return nil }
        guard accepted.exitKnowsClient, let identity = context.identity(for: address) else {
            context.logger.warning(
                "the exit requires an identity; it does not know that of this entry, which is therefore not sent",
                metadata: [
                    "exit": "\(address.publicKey.npub)",
                    "remedy": "\(context.configuration.remedyText(.identity))",
                ]
            )
            return nil
        }
        return identity
    }

    /// Whether this device signs the session with its identity.
    var isIdentified: Bool { self.identity != nil }

    /// The transcript of the handshake, as long as its keys are kept.
    var firstTranscript: SessionTranscript? { self.driver.transcript(of: 0) }

    // MARK: Direct path

    /// Whether the exit may learn this node's addresses. Streams with isolation must not be linked by them.
    private var allowsDirectPath: Bool {
        self.address.isolation.isEmpty && (self.context.configuration.direct.choice == .on || self.identity != nil)
    }

    /// The direct path; without one, the reason.
    var directStatus: DirectStatus {
        guard self.address.isolation.isEmpty else { return .none(.isolated) }
        return self.driver.directStatus(self.context.sockets, isAllowed: self.allowsDirectPath)
    }

    // MARK: Streams

    /// Opens a stream.
    func open(_ opening: StreamOpening, _ request: StreamRequest, earlyBytes: Int) {
        let isOpened = self.link.open(
            request,
            earlyBytes: earlyBytes,
            hasAlternative: opening.hasAlternative,
            endpoint: opening
        )
        guard isOpened else {
            self.context.metrics.ended(.tooManyStreams)
            return opening.fail(.tooManyStreams)
        }
    }

    // MARK: Relays

    /// Uses the exit's relays with the path numbers of the acceptance.
    ///
    /// - Parameters:
    ///   - arrival: The relay that delivered the acceptance.
    ///   - known: The exit's relays that this entry already uses.
    func useRelays(arrivedBy arrival: RelayConnection, known: [RelayConnection]) {
        let acceptance = self.acceptance
        let urls = acceptance.terms.relays.map { try? RelayURL($0) }
        // The exit may use another URL for a relay than this entry. The path number in the acceptance then belongs to
        // the relay that delivered it. A relay can however deliver a copy of an acceptance that was sent on another
        // relay, so URLs that both sides use take precedence.
        let named = urls.indices.contains(acceptance.path.rawValue) ? urls[acceptance.path.rawValue] : nil
        if !urls.contains(arrival.url), !known.contains(where: { $0.url == named }) {
            self.use(arrival, as: acceptance.path)
        }
        for (index, url) in urls.enumerated() {
            let path = PathID(rawValue: index)
            guard let url, self.driver.relay(of: path) == nil else { continue }
            let relay = known.first { $0.url == url } ?? self.delegate?.session(self, needsRelay: url)
            if let relay { self.use(relay, as: path) }
        }
        self.use(arrival, as: acceptance.path)
        for (index, url) in urls.enumerated() { self.named[PathID(rawValue: index)] = url }
        self.noteNamed()
    }

    private func noteNamed() {
        let urls = self.named.sorted { $0.key.rawValue < $1.key.rawValue }.map(\.value)
        self.context.noteRelays(urls.removingDuplicates(), of: self.exit)
    }

    private func use(_ relay: RelayConnection, as path: PathID) {
        guard self.driver.relay(of: path) == nil, self.driver.path(of: relay) == nil else { return }
        self.driver.addRelay(relay, as: path)
    }

    /// Processes an event for the session's first key from a relay without a path number.
    func receive(_ event: Event, for key: PublicKey, on relay: RelayConnection) {
        self.driver.relay(relay, didReceive: event, for: key)
    }

    /// The URL of a path's relay.
    func url(of path: PathID) -> RelayURL? { self.driver.relay(of: path)?.url }

    // MARK: Queries

    /// Asks the exit's long-term key whether the exit still knows the session.
    func askExit(on relays: [RelayConnection]) {
        let query = SessionQuery(
            about: self.link.sealer.peer,
            own: self.link.sealer.own,
            parameters: SessionParameters(self.context.session),
            exit: self.exit,
            destination: self.destination,
            credential: self.context.queryCredential(for: self.address),
            date: RelayConnection.date(for: relays)
        )
        self.query = query
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        // Do not keep the secret key in the query longer than an answer may take.
        _ = self.context.loop.scheduleTask(in: self.context.configuration.session.offerTimeout) {
            if bound.value.query?.key == query.key { bound.value.query = nil }
        }
        if let message = query.sealed(for: self.exit) {
            for relay in relays where relay.isOpen { message.publish(on: relay) { _ in } }
        }
        self.noteQuery()
    }

    private func noteQuery() {
        let now = NIODeadline.now()
        if self.lastQuery.map({ $0 + Self.silence <= now }) ?? true { self.queries = 0 }
        self.lastQuery = now
        self.queries += 1
        guard self.queries > 1, self.lastWarning.map({ $0 + Self.warningInterval <= now }) ?? true else { return }
        self.lastWarning = now
        self.context.logger.warning(
            self.link.engine.isDeserted
                ? "exit is not connected to its relays; streams wait for it"
                : "exit does not answer; streams wait for it",
            metadata: [
                "exit": "\(self.exit.npub)", "streams": "\(self.link.streamCount)",
                "timeout.seconds": "\(self.context.configuration.session.peerTimeout.nanoseconds / 1_000_000_000)",
            ]
        )
    }

    // MARK: End

    func close(_ reason: StreamEnd?) { self.link.close(reason) }

    func stop() { self.driver.stop() }
}

extension OutgoingSession: SessionDriverDelegate {
    func session(_ session: SessionDriver, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        .refused(.notAllowed)
    }

    func session(
        _ session: SessionDriver,
        shouldReceive message: MessageSealer.Message,
        on relay: RelayConnection
    ) -> Bool {
        guard message.isAnswer else { return true }
        // The exit repeated its acceptance, possibly on another relay.
        if case .accepted(let acceptance)? = SessionAnswer(plaintext: Array(message.plaintext.readableBytesView)),
            self.driver.path(of: relay) == nil, self.driver.relay(of: acceptance.path) == nil
        {
            self.use(relay, as: acceptance.path)
        } else {
            self.context.metrics.rejected(.duplicate)
        }
        return false
    }

    func session(
        _ session: SessionDriver,
        didReceiveFromStranger event: Event,
        for key: PublicKey,
        on relay: RelayConnection
    ) {
        guard self.strangers.take(at: .now()) else { return self.context.metrics.rejected(.tooManyHandshakes) }
        guard let query, key == query.own.publicKey else { return self.receiveFromStranger(event, for: key, on: relay) }
        guard self.context.verifier.admit(event) else { return }
        guard let answer = query.answer(in: event, of: self.exit) else {
            self.context.metrics.rejected(.invalidAnswer)
            return
        }
        // The exit may know the session if it only rejects the date of the query.
        guard case .refused(let refusal) = answer, refusal.reason != .clockSkew else { return }
        self.context.logger.info("exit no longer knows the session", metadata: ["exit": "\(self.exit.npub)"])
        self.link.close(refusal.reason)
    }

    /// Handles an event of an unknown author: the answer of another exit with the same key, or nothing of interest.
    private func receiveFromStranger(_ event: Event, for key: PublicKey, on relay: RelayConnection) {
        self.context.metrics.rejected(.wrongAuthor)
        guard let offering, key == offering.ownKey.publicKey, self.context.verifier.admit(event),
            let sealer = try? MessageSealer(own: offering.ownKey, peer: event.pubkey),
            let message = try? sealer.open(event, recipient: key),
            case .accepted(let other)? = offering.answer(in: message, sealer: sealer)
        else { return }
        self.offering = nil
        self.context.logger.warning(
            "two exits use the same key, and a session reaches one or the other. Stop one of them, or give it another key",
            metadata: ["exit": "\(self.exit.npub)"]
        )
        let report = DuplicateKeyReport(other, fresh: event.pubkey)
        self.link.update { $0.report(report, at: $1) }
        self.close(other, sealer: sealer, offering, on: relay)
    }

    /// Ends the session with another exit that uses the same key, and tells it about this one. If the message is lost, the
    /// next session repeats it.
    private func close(
        _ other: SessionAcceptance,
        sealer: MessageSealer,
        _ offering: SessionOffering,
        on relay: RelayConnection
    ) {
        let report = DuplicateKeyReport(self.acceptance, fresh: self.link.sealer.peer)
        // An acceptance with an invalid ciphertext has no session.
        guard let accepted = try? offering.complete(other, sealer: sealer),
            let message = try? accepted.sealer.seal(report.closingPacket(on: other.path), createdAt: self.link.date)
        else { return }
        message.publish(on: relay) { _ in }
    }

    func session(_ session: SessionDriver, didReceive signal: SessionSignal) {
        switch signal {
        case .pathOffered(let offer):
            guard let url = try? RelayURL(offer.relay) else { return }
            self.named[offer.path] = url
            self.noteNamed()
            guard self.driver.relay(of: offer.path) == nil, let relay = self.delegate?.session(self, needsRelay: url)
            else { return }
            self.context.logger.debug("exit adds a relay", metadata: ["relay.url": "\(url)"])
            self.use(relay, as: offer.path)
        case .ticket(let secret, let lifetime):
            // A ticket that came in a session without the identity would connect that session with the identity.
            guard let identity = self.identity?.publicKey, self.tickets < Self.maximumTickets else { return }
            self.tickets += 1
            let now = Moment.now.seconds
            let expires = now + Int64(min(lifetime, UInt64(TicketTable.lifetime)))
            let ticket = TicketStore.Ticket(secret: secret, identity: identity, expires: expires)
            self.context.tickets.insert(ticket, for: self.exit, at: now)
        case .askPeer: self.delegate?.sessionIsUnanswered(self)
        case .closed(let reason): self.delegate?.session(self, didClose: reason)
        // The driver handles the signals about keys. Only exits receive the other signals.
        case .makeKey, .answerKey, .completeKey, .sealUnder, .eraseKey, .identified, .duplicateKey, .direct,
            .directPathIsSilent:
            break
        }
    }

    func session(_ session: SessionDriver, didSubscribe key: PublicKey, on relay: RelayConnection) {}

    func session(_ session: SessionDriver, didUseKeysOf generation: Int) {
        guard let identity = self.identity,
            let transcript = session.transcript(of: generation),
            // Signing does not fail with a valid key.
            let renewed = try? ClientIdentity(identity, generation: generation, transcript: transcript)
        else { return }
        self.link.update { $0.renew(renewed, at: $1) }
    }

    func sessionIsOfferedDirectPath(_ session: SessionDriver) {
        let direct = self.context.configuration.direct
        guard let sockets = self.context.sockets, self.allowsDirectPath else { return }
        session.startDirect(isExit: false, isTrusted: self.identity != nil, sockets: sockets, direct)
    }

    func session(_ session: SessionDriver, wasRejectedBy relay: RelayConnection) {
        self.context.warnOfRejection(by: relay)
    }

    func sessionDidBecomeIdle(_ session: SessionDriver) { self.delegate?.sessionDidBecomeIdle(self) }
}
