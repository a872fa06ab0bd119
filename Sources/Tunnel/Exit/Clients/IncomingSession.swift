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

/// Identifies the offer of a session.
struct OfferID: Hashable {
    let client: PublicKey
    /// The UUID of the CONNECT.
    let key: String
}

/// The owner of an ``IncomingSession``. Serves its streams, and is notified when it begins and ends.
protocol IncomingSessionDelegate: AnyObject {
    func session(_ session: IncomingSession, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision
    /// The relays on which the exit accepts sessions, all with the same path numbers in every session.
    func relays(of session: IncomingSession) -> NumberedRelays
    /// Returns a ticket for the client's next session. Nil if the exit has no access list.
    func session(_ session: IncomingSession, ticketFor identity: PublicKey) -> Bytes32?
    /// The client's first packet has arrived. Returns whether the session may begin. If not, the session was discarded.
    func sessionShouldBegin(_ session: IncomingSession) -> Bool
    /// The session has ended. The reason is nil if no error occurred.
    func session(_ session: IncomingSession, didClose reason: StreamEnd?)
    /// A relay rejects events of authors that it does not know.
    func session(_ session: IncomingSession, wasRejectedBy relay: RelayConnection)
}

/// A session with a client, from the client's offer to its end (exit).
final class IncomingSession {
    let offer: OfferID
    let startedAt = NIODeadline.now()
    private let began = Moment.now.seconds
    private let driver: SessionDriver
    private let context: ExitContext
    weak var delegate: (any IncomingSessionDelegate)?

    /// The exit's first key of the session.
    private let firstKey: PublicKey
    /// The client whose proof the offer contains. It must also sign the session: a thief of the exit's key can make proofs
    /// for every client, but no signatures.
    private let known: KnownClient?
    /// The answer to the offer. Nil when the session has begun, so that the keys in it are erased.
    private var accepted: AcceptedOffer?
    private let offerHash: Bytes32
    /// Whether this exit has accepted the offer before, with another session key.
    private let isRepeated: Bool
    /// The URLs of the relays in the answer, by path number.
    private let acceptedRelays: [String]
    /// The path by which the offer arrived.
    private let arrival: PathID?
    /// Whether a stream was admitted.
    private(set) var isUsed = false
    /// Whether the exit opened the stream of the offer.
    private let hasOpening: Bool
    /// Whether the client has opened the stream in which its device enrols.
    var hasOpenedEnrolment = false
    /// Whether the client's device is being enrolled, or was. Its invite is then removed from the list.
    var isEnrolling = false
    /// Whether the client's first packet has arrived. The client has then received the acceptance.
    private(set) var isEstablished = false
    /// The proven identity of the client; nil if it has proven none.
    private(set) var identity: PublicKey?
    /// The service ports for which the client was admitted by the access list; empty without a list. Nil stands for all
    /// other targets.
    private(set) var usedPorts: Set<UInt16?> = []

    /// The identity whose permissions apply to a stream: the one that the client has signed with. A ticket was sent to a client
    /// that had signed, so the stream that came with the offer may be opened before the client signs again.
    func identity(for stream: StreamID) -> PublicKey? {
        if let identity { return identity }
        let isOpening = self.hasOpening && stream == StreamID(rawValue: 1) && self.known?.credential.kind == .ticket
        return isOpening ? self.known?.identity : nil
    }

    /// The identity that the client has signed with, or before that the one of the offer's proof.
    var owner: PublicKey? { self.identity ?? self.known?.identity }

    /// The derived keys of the invite with which the client came.
    var invite: [UInt8]? { self.known?.credential.kind == .invite ? self.known?.credential.derived : nil }

    /// The transcript of the handshake, as long as its keys are kept.
    var firstTranscript: SessionTranscript? { self.driver.transcript(of: 0) }

    /// Among whom the sessions of the exit are shared.
    var share: SessionEviction.Share { self.owner.map { .identity($0) } ?? .relay(self.arrival) }

    private var answeredAt = NIODeadline.now()
    /// Number of times that the offer was answered.
    private var answers = 0
    /// The paths on which the offer is to be answered when the relay has accepted the subscription of the session's key.
    private var unanswered: Set<PathID> = []
    /// The newest generation of keys for which the client has signed.
    private var identifiedGeneration: Int?
    private var renewal: Scheduled<Void>?

    var link: SessionLink { self.driver.link }

    var evictionCandidate: SessionEviction.Candidate {
        SessionEviction.Candidate(
            startedAt: self.startedAt,
            share: self.share,
            isUsed: self.isUsed,
            isDeserted: self.link.engine.isDeserted,
            // Data for streams that were never opened does not count.
            idleSince: self.link.idleSince,
            heldBytes: self.link.engine.heldBytes
        )
    }

    /// - Parameters:
    ///   - accepted: The answer to the offer.
    ///   - isRepeated: Whether this exit has accepted the offer before.
    ///   - parameters: The client's limits.
    ///   - hasOpening: Whether the exit opens the stream of the offer.
    ///   - known: The client whose proof the offer contains. Nil without an access list.
    ///   - arrival: The path by which the offer arrived.
    ///   - configuration: The limits of the session.
    init(
        _ accepted: AcceptedOffer,
        id: OfferID,
        isRepeated: Bool,
        parameters: SessionParameters,
        hasOpening: Bool,
        known: KnownClient?,
        arrival: PathID?,
        configuration: SessionConfiguration,
        context: ExitContext
    ) {
        self.offer = id
        self.isRepeated = isRepeated
        self.arrival = arrival
        self.context = context
        self.accepted = accepted
        self.offerHash = accepted.hash
        self.acceptedRelays = accepted.relays
        self.firstKey = accepted.sealer.own.publicKey
        self.known = known
        self.hasOpening = hasOpening
        let link = SessionLink(
            sealer: accepted.sealer,
            engine: SessionStateMachine(
                role: .exit,
                configuration: configuration,
                peer: parameters,
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
    }

    /// Opens the stream of the offer.
    func open(_ opening: OfferTerms.Opening) {
        self.link.update { $0.receiveEarly(opening.request, ByteBuffer(bytes: opening.data), at: $1) }
    }

    /// The client, for log messages.
    var clientMetadata: Logger.Metadata {
        // Before it is proven, an identity is only claimed.
        var metadata = self.identity == nil ? [:] : self.known?.metadata ?? [:]
        metadata["peer"] = "\(self.offer.client)"
        return metadata
    }

    /// The line of the session in an audit log.
    func auditRecord(_ reason: StreamEnd?) -> AuditRecord {
        AuditRecord(
            subject: .session,
            client: self.offer.client,
            identity: self.identity,
            name: self.context.configuration.comment(of: self.identity),
            service: nil,
            began: self.began,
            ended: Moment.now.seconds,
            sent: self.link.sentBytes,
            received: self.link.receivedBytes,
            reason: reason
        )
    }

    // MARK: Relays

    /// Uses a relay as a path.
    func addRelay(_ relay: RelayConnection, as path: PathID) { self.driver.addRelay(relay, as: path) }

    /// Stops using a relay.
    func removeRelay(_ path: PathID) { self.driver.removeRelay(path) }

    /// Tells the client about an additional relay, if the session is established.
    func announceRelay(_ offer: SessionPathOffer) {
        if self.isEstablished { self.link.update { $0.offerPath(offer, at: $1) } }
    }

    /// The URL of a path's relay.
    func url(of path: PathID) -> RelayURL? { self.driver.relay(of: path)?.url }

    // MARK: Answering

    /// Whether a received offer is a repetition of this session's offer, and not another one with the same UUID.
    func isOffer(_ hash: Bytes32) -> Bool { self.offerHash == hash }

    /// Answers the offer, or a repetition of it, on the path by which it arrived. A repetition means that the client may
    /// not have received the answer, so it is also answered on one further path, each time another one.
    func answer(on arrival: PathID?) {
        let paths = self.delegate?.relays(of: self).all.map(\.path) ?? []
        guard !paths.isEmpty else { return }
        self.answeredAt = .now()
        var answered: [PathID] = arrival.map { paths.contains($0) ? [$0] : [] } ?? []
        if answered.isEmpty || self.answers > 0 {
            let others = paths.filter { !answered.contains($0) }
            if !others.isEmpty { answered.append(others[self.answers % others.count]) }
        }
        self.answers += 1
        for path in answered { self.sendAcceptance(on: path) }
    }

    /// Whether a repeated offer may be answered now. At most one is answered per interval.
    var mayAnswerAgain: Bool {
        let interval = TimeAmount.nanoseconds(self.context.configuration.session.offerRepetition.nanoseconds / 2)
        return !self.isEstablished && self.answeredAt + interval <= .now()
    }

    /// Sends the acceptance when the relay knows the session's key, so that the client's first packet is delivered.
    private func sendAcceptance(on path: PathID) {
        guard let relay = self.driver.relay(of: path) else { return }
        guard relay.hasRequested(self.firstKey) else {
            self.unanswered.insert(path)
            return
        }
        self.unanswered.remove(path)
        // Sealing does not fail with valid keys. The client repeats an offer whose answer is lost.
        let date = Moment.now.seconds + relay.clockCorrection
        if relay.isOpen, let message = try? self.accepted?.acceptance(on: path, createdAt: date) {
            message.publish(on: relay) { _ in }
        }
    }

    /// Tells the client about relays that the exit began to use after it accepted the offer.
    private func announceNewRelays() {
        let known = self.acceptedRelays
        for (path, relay) in self.delegate?.relays(of: self).all ?? [] {
            let url = self.context.configuration.advertised(relay.url).text
            guard !known.indices.contains(path.rawValue) || known[path.rawValue] != url else { continue }
            self.link.update { $0.offerPath(SessionPathOffer(path: path, relay: url), at: $1) }
        }
    }

    // MARK: Permissions

    /// Returns whether the client may open a stream. If so, records the port.
    ///
    /// - Parameter port: See ``Admission/permission(for:_:)``.
    func admitStream(_ id: StreamID, to port: UInt16?) -> Bool {
        guard let access = self.context.configuration.access else { return true }
        guard access.allows(self.identity(for: id), port: port, at: Moment.now.seconds) else { return false }
        self.usedPorts.insert(port)
        return true
    }

    private func identify(_ identity: ClientIdentity) {
        // Without an access list, and with an invite, a client has no identity.
        guard let expected = self.known?.identity, expected == identity.publicKey,
            let transcript = self.driver.transcript(of: identity.generation), identity.isProven(by: transcript)
        else { return self.context.metrics.rejected(.invalidIdentity) }
        if self.identity == nil, let ticket = self.delegate?.session(self, ticketFor: identity.publicKey) {
            self.link.update { $0.sendTicket(ticket, lifetime: UInt64(TicketTable.lifetime), at: $1) }
        }
        self.identity = identity.publicKey
        self.identifiedGeneration = identity.generation
        self.startDirect()
    }

    /// Whether the client may learn this node's addresses.
    private var allowsDirectPath: Bool { self.context.configuration.direct.choice == .on || self.identity != nil }

    /// The direct path; without one, the reason.
    var directStatus: DirectStatus {
        self.driver.directStatus(self.context.sockets, isAllowed: self.allowsDirectPath)
    }

    /// Offers the client a direct path, if the configuration allows it.
    private func startDirect() {
        let direct = self.context.configuration.direct
        guard let sockets = self.context.sockets, self.allowsDirectPath else { return }
        self.driver.startDirect(isExit: true, isTrusted: self.identity != nil, sockets: sockets, direct)
    }

    /// Ends the session if the client does not sign for a new generation of keys while the old keys are kept.
    private func expectIdentity(of generation: Int) {
        guard self.identity != nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        self.renewal = self.context.loop.scheduleTask(in: self.context.configuration.session.keyOverlap) {
            guard bound.value.identifiedGeneration.map({ $0 < generation }) ?? true else { return }
            // Without a relay, the client can send nothing.
            let overlap = bound.value.context.configuration.session.keyOverlap
            guard bound.value.link.engine.lastHeard + overlap > .now() else {
                return bound.value.expectIdentity(of: generation)
            }
            bound.value.context.metrics.rejected(.invalidIdentity)
            bound.value.close(.notAllowed)
        }
    }

    /// Warns the operator if another exit with the same key has accepted the same offer.
    private func receive(_ report: DuplicateKeyReport) {
        guard !self.isRepeated,
            report.isProven(exit: self.context.key, offerHash: self.offerHash, own: self.firstKey)
        else {
            return self.context.metrics.reported(.malformedMessage)
        }
        self.context.metrics.reported(.duplicateKey)
        self.context.logLimited(
            .warning,
            "another exit uses the same key, and a client reaches one or the other. Stop one of them, or give it another key. Ignore this message if the exit has just been restarted",
            [:],
            topic: .duplicateKeys
        )
    }

    // MARK: End

    /// Ends all streams and tells the client. The delegate is notified, and then calls ``stop()``.
    ///
    /// - Parameter reason: Nil if no error occurred.
    func close(_ reason: StreamEnd?) { self.link.close(reason) }

    /// Unsubscribes the session's keys and releases its timers. Tells the client, unless ``close(_:)`` did, if the session
    /// was established or the stream of the offer was opened.
    func stop() {
        self.renewal?.cancel()
        if self.isEstablished || self.hasOpening { self.link.close(.peerLost) }
        self.driver.stop()
    }
}

extension IncomingSession: SessionDriverDelegate {
    func session(_ session: SessionDriver, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        let decision = self.delegate?.session(self, isAskedFor: request, as: id) ?? .refused(.shuttingDown)
        if case .accepted = decision { self.isUsed = true }
        return decision
    }

    func session(
        _ session: SessionDriver,
        shouldReceive message: MessageSealer.Message,
        on relay: RelayConnection
    ) -> Bool {
        // A relay sent this exit's own answer back.
        guard !message.isAnswer else {
            self.context.metrics.reported(.reflected)
            return false
        }
        guard !self.isEstablished else { return true }
        guard self.delegate?.sessionShouldBegin(self) == true else { return false }
        self.isEstablished = true
        self.unanswered = []
        self.accepted = nil
        self.announceNewRelays()
        // A client that has proven itself in its offer follows with its identity, and may then learn private addresses.
        if self.context.configuration.direct.choice == .on, self.known?.identity == nil { self.startDirect() }
        return true
    }

    func session(
        _ session: SessionDriver,
        didReceiveFromStranger event: Event,
        for key: PublicKey,
        on relay: RelayConnection
    ) {
        self.context.metrics.rejected(.wrongAuthor)
    }

    func session(_ session: SessionDriver, didReceive signal: SessionSignal) {
        switch signal {
        case .identified(let identity): self.identify(identity)
        case .duplicateKey(let report): self.receive(report)
        case .closed(let reason): self.delegate?.session(self, didClose: reason)
        // The driver handles the signals about keys. Only clients receive the other signals.
        case .makeKey, .answerKey, .completeKey, .sealUnder, .eraseKey, .pathOffered, .ticket, .askPeer, .direct,
            .directPathIsSilent:
            break
        }
    }

    func session(_ session: SessionDriver, didSubscribe key: PublicKey, on relay: RelayConnection) {
        guard !self.isEstablished, key == self.firstKey, let path = session.path(of: relay),
            self.unanswered.contains(path)
        else { return }
        self.sendAcceptance(on: path)
    }

    func session(_ session: SessionDriver, didUseKeysOf generation: Int) { self.expectIdentity(of: generation) }

    /// The client answers an offer of this exit, which begins by itself.
    func sessionIsOfferedDirectPath(_ session: SessionDriver) {}

    func session(_ session: SessionDriver, wasRejectedBy relay: RelayConnection) {
        self.delegate?.session(self, wasRejectedBy: relay)
    }

    func sessionDidBecomeIdle(_ session: SessionDriver) {}
}
