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
    private let driver: SessionDriver
    private let context: ExitContext
    weak var delegate: (any IncomingSessionDelegate)?

    /// The exit's first key of the session.
    private let firstKey: PublicKey
    /// The client whose proof the offer contains. It must also sign the session: a thief of the exit's key can make proofs
    /// for every client, but no signatures.
    private let known: KnownClient?
    /// Number of bytes of early data that were accepted with the offer.
    private let earlyBytes: Int
    /// Whether the client's first packet has arrived. The client has then received the acceptance.
    private(set) var isEstablished = false
    /// The proven identity of the client; nil if it has proven none.
    private(set) var identity: PublicKey?
    /// The service ports for which the client was admitted by the access list; empty without a list. Nil stands for all
    /// other targets.
    private(set) var usedPorts: Set<UInt16?> = []

    /// The identity that the client has signed with, or before that the one of the offer's proof.
    var owner: PublicKey? { self.identity ?? self.known?.identity }

    private var acceptedAt = NIODeadline.now()
    /// The offers to answer on each path when the relay has accepted the subscription of the session's key.
    private var unanswered: [PathID: SessionOffer] = [:]
    /// The SHA-256 hashes of the bodies of the acceptances. The client signs one of them to prove its identity.
    private var acceptanceHashes: Set<Bytes32> = []
    private var repetitions = 0
    private var repetition: Scheduled<Void>?

    /// Maximum number of times that a timer repeats an acceptance. Repeated offers are answered in addition.
    private static let maximumRepetitions = 3

    var link: SessionLink { self.driver.link }

    var evictionCandidate: SessionEviction.Candidate {
        SessionEviction.Candidate(
            startedAt: self.startedAt,
            owner: self.owner,
            isDeserted: self.link.engine.isDeserted,
            // Data for streams that were never opened does not count.
            idleSince: self.link.idleSince,
            heldBytes: self.link.engine.heldBytes
        )
    }

    /// - Throws: If the client's key is not on the curve.
    init(
        _ offer: SessionOffer,
        id: OfferID,
        key: SecretKey,
        earlyData: SessionOffer.EarlyData?,
        known: KnownClient?,
        context: ExitContext
    ) throws(CryptoError) {
        self.offer = id
        self.context = context
        self.firstKey = key.publicKey
        self.known = known
        self.earlyBytes = earlyData?.bytes.count ?? 0
        let link = try SessionLink(
            peer: id.client,
            ownKey: key,
            engine: SessionStateMachine(
                role: .exit,
                configuration: context.configuration.session,
                peer: offer.terms.parameters,
                now: Moment.now
            ),
            loop: context.loop,
            metrics: context.metrics,
            logger: context.logger
        )
        self.driver = SessionDriver(link, loop: context.loop, metrics: context.metrics, logger: context.logger)
        self.driver.delegate = self
    }

    /// Passes the offer's early data to its service.
    func receiveEarlyData(_ early: SessionOffer.EarlyData) {
        let request = StreamRequest(destination: "", port: early.port)
        self.link.update { $0.receiveEarly(request, ByteBuffer(bytes: early.bytes), at: $1) }
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

    // MARK: Accepting

    /// Accepts the offer on every relay. Each acceptance contains the path number of its relay, so that the client can
    /// assign the exit's path numbers to its relays.
    ///
    /// - Parameter repeats: Whether a timer repeats the acceptance until the client's first packet arrives.
    func accept(_ offer: SessionOffer, repeats: Bool) {
        self.acceptedAt = .now()
        for (path, relay) in self.delegate?.relays(of: self).all ?? [] {
            // Send the acceptance only after the relay knows the session's key, so that the client's first packet is
            // delivered.
            if relay.hasRequested(self.firstKey) {
                self.sendAcceptance(of: offer, on: path, relay)
            } else {
                self.unanswered[path] = offer
            }
        }
        if repeats { self.repeatLater(offer) }
    }

    /// Whether a repeated offer may be answered now. At most one is answered per interval.
    var mayAcceptAgain: Bool {
        let interval = TimeAmount.nanoseconds(self.context.configuration.session.offerRepetition.nanoseconds / 2)
        return !self.isEstablished && self.acceptedAt + interval <= .now()
    }

    private func sendAcceptance(of offer: SessionOffer, on path: PathID, _ relay: RelayConnection) {
        self.unanswered[path] = nil
        var parameters = SessionParameters(self.context.configuration.session)
        parameters.earlyBytes = UInt64(self.earlyBytes)
        parameters.wantsIdentity = self.context.configuration.access != nil
        // The URLs by which clients reach the relays, by path number.
        let names = self.delegate?.relays(of: self).byNumber.map { relay in
            relay.map { self.context.configuration.advertised($0.url).text } ?? ""
        }
        let answer = SessionAnswer.accepted(
            SessionAcceptance(
                key: offer.key,
                path: path,
                parameters: parameters,
                relays: names ?? [],
                proof: self.known?.credential.proof(
                    of: SessionAcceptance.provenMessage(
                        exit: self.context.key,
                        client: self.offer.client,
                        fresh: self.firstKey,
                        offerHash: offer.plaintextHash
                    )
                )
            )
        )
        self.acceptanceHashes.insert(Bytes32.sha256(of: answer.body))
        answer.publish(
            by: self.context.configuration.secretKey,
            to: offer.plaintextHash,
            sealedWith: self.link.sealer,
            on: [relay]
        )
    }

    private func repeatLater(_ offer: SessionOffer) {
        guard self.repetitions < Self.maximumRepetitions, self.repetition == nil else { return }
        let first = self.context.configuration.session.offerRepetition.nanoseconds
        let wait = TimeAmount.nanoseconds(first << Int64(self.repetitions))
        self.repetitions += 1
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        self.repetition = self.context.loop.scheduleTask(in: wait) {
            bound.value.repetition = nil
            if !bound.value.isEstablished { bound.value.accept(offer, repeats: true) }
        }
    }

    // MARK: Permissions

    /// Returns whether the client may open a stream. If so, records the port.
    ///
    /// - Parameter port: See ``Admission/permission(for:_:)``.
    func admitStream(to port: UInt16?) -> Bool {
        guard let access = self.context.configuration.access else { return true }
        guard access.allows(self.identity, port: port, at: Moment.now.seconds) else { return false }
        self.usedPorts.insert(port)
        return true
    }

    private func identify(_ identity: ClientIdentity) {
        let isProven = identity.isProven(
            exit: self.context.key,
            client: self.offer.client,
            fresh: self.firstKey,
            acceptanceHashes: self.acceptanceHashes
        )
        // A session that began before there was an access list has no known client.
        guard isProven, self.known.map({ $0.identity == identity.publicKey }) ?? true else {
            return self.context.metrics.rejected(.invalidIdentity)
        }
        self.identity = identity.publicKey
    }

    // MARK: End

    /// Ends all streams and tells the client. The delegate is notified, and then calls ``stop()``.
    ///
    /// - Parameter reason: Nil if no error occurred.
    func close(_ reason: StreamEnd?) { self.link.close(reason) }

    /// Unsubscribes the session's keys and releases its timers. Tells the client, unless ``close(_:)`` did, if the session
    /// was established or its early data was delivered.
    func stop() {
        self.repetition?.cancel()
        if self.isEstablished || self.earlyBytes > 0 { self.link.close(.peerLost) }
        self.driver.stop()
    }
}

extension IncomingSession: SessionDriverDelegate {
    func session(_ session: SessionDriver, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        self.delegate?.session(self, isAskedFor: request, as: id) ?? .refused(.shuttingDown)
    }

    func session(
        _ session: SessionDriver,
        shouldReceive message: MessageSealer.Message,
        on relay: RelayConnection
    ) -> Bool {
        // NIP-44 uses the same key in both directions, so a message of this exit that a relay sends back can be
        // decrypted.
        guard SessionAnswer.isClientsPacket(message.plaintext) else {
            self.context.metrics.reported(.reflected)
            return false
        }
        guard !self.isEstablished else { return true }
        guard self.delegate?.sessionShouldBegin(self) == true else { return false }
        self.isEstablished = true
        self.unanswered = [:]
        self.repetition?.cancel()
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
        case .closed(let reason): self.delegate?.session(self, didClose: reason)
        // The driver handles the signals about keys. Only clients receive the other signals.
        case .makeKey, .pair, .sealUnder, .eraseKey, .pathOffered, .askPeer: break
        }
    }

    func session(_ session: SessionDriver, didSubscribe key: PublicKey, on relay: RelayConnection) {
        guard !self.isEstablished, key == self.firstKey, let path = session.path(of: relay),
            let offer = self.unanswered[path]
        else { return }
        self.sendAcceptance(of: offer, on: path, relay)
    }

    func session(_ session: SessionDriver, wasRejectedBy relay: RelayConnection) {
        self.delegate?.session(self, wasRejectedBy: relay)
    }

    func sessionDidBecomeIdle(_ session: SessionDriver) {}
}
