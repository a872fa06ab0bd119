//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// An exit that is reached by one set of relays with one isolation (entry). Connects to the relays, offers a session,
/// and opens streams in the session or in plain NIP-74.
final class ExitPeer {
    let address: ExitAddress
    let startedAt = NIODeadline.now()
    private let context: EntryContext
    weak var delegate: (any ExitPeerDelegate)?

    /// The client's key for the offer, for plain NIP-74, and for the first generation of a session. Set to nil when a
    /// session takes it over.
    private var ownKey: SecretKey?
    private let relays: ExitRelays
    private var queue = OpenQueue()
    private var negotiation: Negotiation
    private var plain: PlainExit?
    /// The offer that an answer may belong to. It is kept after a fallback, because a late acceptance shows that the
    /// exit supports sessions.
    private var offering: SessionOffering?
    private var session: OutgoingSession?
    /// Number of bytes of the first opening that the exit accepted with the offer.
    private var earlyBytes = 0
    /// Whether to begin a session without a waiting stream, to measure the exit.
    private var isMeasured = false
    private var isClosed = false

    /// - Parameter policy: The policy for the relays of the address.
    init(_ address: ExitAddress, policy: DialPolicy, context: EntryContext) {
        self.address = address
        self.context = context
        self.negotiation = Negotiation(
            context.memory.opening(with: address.publicKey),
            gatheringDeadline: .now() + context.configuration.relayGathering
        )
        let lane = address.isolation.isEmpty ? context.lane : RelayLane(isolation: address.isolation)
        let key =
            address.isolation.isEmpty ? context.keys.take { address.relays.contains($0.url) } : SecretKey.generate()
        self.ownKey = key
        self.relays = ExitRelays(of: address, policy: policy, lane: lane, clientKey: key.publicKey, context: context)
        self.relays.delegate = self
    }

    /// Connects to the relays.
    func start(policy: DialPolicy) {
        self.relays.start(policy: policy)
        self.serveLater(after: self.context.configuration.relayGathering)
    }

    // MARK: Status

    /// The state of the link that carries the streams. Nil if there is no link.
    private var streamCounts: (count: Int, isIdle: Bool, idleSince: NIODeadline?)? {
        if let link = self.session?.link { return (link.streamCount, link.isIdle, link.idleSince) }
        return self.plain.map { ($0.link.streamCount, $0.link.isIdle, $0.link.idleSince) }
    }

    var streamCount: Int { self.streamCounts?.count ?? 0 }
    /// Whether there is a link. If not, the peer has only relay connections.
    var isActive: Bool { self.streamCounts != nil }
    var isSession: Bool { self.session != nil }

    /// The time since which there is no stream and no waiting request. Nil while there is one.
    var idleSince: NIODeadline? {
        guard self.queue.isEmpty else { return nil }
        guard let streams = self.streamCounts else { return self.startedAt }
        return streams.isIdle ? streams.idleSince : nil
    }

    /// Measurements of the session's paths, with their relays.
    var pathStatus: [(url: RelayURL, status: PathStatus)] {
        guard let session else { return [] }
        return session.link.engine.pathStatus.compactMap { status in
            session.url(of: status.path).map { ($0, status) }
        }
    }

    /// The shortest round-trip time of a path in milliseconds. Nil if none was measured.
    var roundTrip: Double? {
        self.session?.link.engine.pathStatus.compactMap(\.roundTrip).min().map { Double($0.nanoseconds) / 1_000_000 }
    }

    var connections: [RelayConnection] { self.relays.all }

    /// Whether a session should be offered again, because plain NIP-74 has been used for long enough.
    var isOutdated: Bool {
        guard case .plain(let since) = self.negotiation.phase else { return false }
        return self.context.memory.shouldOfferAgain(plainSince: since)
    }

    // MARK: Requests

    /// Opens a stream as soon as a relay is ready and the protocol is negotiated.
    func open(_ opening: StreamOpening) {
        let number = self.queue.append(opening)
        self.serve()
        guard self.queue.contains(number) else { return }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: self.context.configuration.relayPatience) {
            bound.value.giveUp(number, onlyIfUnreachable: true)
        }
        _ = self.context.loop.scheduleTask(in: self.context.configuration.relayTimeout) {
            bound.value.giveUp(number, onlyIfUnreachable: false)
        }
    }

    /// Begins a session without a waiting stream, to measure the exit.
    func measure() {
        self.isMeasured = true
        self.serve()
    }

    /// Removes a waiting request, because its client has closed the connection. After an offer was sent, the request
    /// stays in the queue, because the first request uses the stream of the offer's CONNECT. It then ends when it is
    /// attached to a stream.
    func cancel(_ opening: StreamOpening) {
        if case .gathering = self.negotiation.phase { self.queue.remove(opening) }
    }

    private func giveUp(_ number: UInt64, onlyIfUnreachable: Bool) {
        switch self.negotiation.phase {
        // The offer has its own timeout.
        case .offering: return
        case .gathering: break
        // The exit was reachable before, so wait for the relays to reconnect.
        case .plain, .session: if onlyIfUnreachable { return }
        }
        if onlyIfUnreachable, !self.relays.isUnreachable { return }
        self.queue.remove(number)?.fail(.relaysUnreachable(self.relays.problems))
    }

    /// Fails all waiting requests.
    func failWaiting(_ error: EntryError) {
        for opening in self.queue.removeAll() { opening.fail(error) }
    }

    private func serveLater(after delay: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: delay) { bound.value.serve() }
    }

    // MARK: Negotiating

    private func serve() {
        guard !self.isClosed else { return }
        let situation = self.relays.situation(isNeeded: !self.queue.isEmpty || self.isMeasured)
        switch self.negotiation.advance(situation, at: .now()) {
        case .wait: break
        case .offer(let mayFallBack): self.offer(mayFallBack: mayFallBack)
        case .beginPlain:
            self.makePlain()
            self.openWaiting()
        case .serve: self.openWaiting()
        }
    }

    private func openWaiting() {
        for opening in self.queue.removeAll() {
            if let session {
                // Only the bytes of the first request can have been sent with the offer.
                let early = min(self.earlyBytes, opening.earlyData.count)
                self.earlyBytes = 0
                session.open(opening, opening.streamRequest, earlyBytes: early)
            } else if let plain {
                plain.open(opening, opening.streamRequest, paths: self.relays.ready)
            }
        }
    }

    private var destination: String {
        NostrName(publicKey: self.address.publicKey, relays: self.address.relays).encoded
    }

    private func makePlain() {
        // The exit's key was checked when its name was decoded.
        guard let ownKey,
            let plain = PlainExit(
                self.address.publicKey,
                ownKey: ownKey,
                destination: self.destination,
                context: self.context
            )
        else { return }
        self.plain = plain
        plain.delegate = self
        for (path, relay) in self.relays.ready { plain.link.addPath(path, relay) }
    }

    /// Offers a session with a CONNECT that any exit understands.
    private func offer(mayFallBack: Bool) {
        self.isMeasured = false
        guard let ownKey else { return }
        var terms = self.context.makeTerms()
        // Early data has no forward secrecy. It is sent only to exits that are known to support sessions.
        if !mayFallBack, self.context.configuration.isOptimistic, self.context.memory.isPinned(self.address.publicKey) {
            terms.earlyData = self.queue.first?.earlyDataOfOffer
        }
        let offering = SessionOffering(
            OutgoingOffer(key: EntryContext.makeUUID(), terms: terms, mayFallBack: mayFallBack),
            exit: self.address.publicKey,
            ownKey: ownKey,
            destination: self.destination
        )
        offering.delegate = self
        self.offering = offering
        self.makePlain()
        self.plain?.link.open(offering: offering.outgoing, paths: self.relays.ready.map(\.path), endpoint: offering)
    }

    private func receiveAnswer(_ event: Event, on relay: RelayConnection) {
        guard let offering else { return self.context.metrics.rejected(.wrongAuthor) }
        guard let (answer, body) = offering.receive(event, context: self.context) else { return }
        switch (answer, self.negotiation.phase) {
        case (.accepted(let acceptance), .offering):
            self.begin(offering, acceptance, body: body, peer: event.pubkey, arrivedBy: relay)
        case (.accepted, .plain): self.acceptedLate()
        case (.refused(let refusal), .offering): self.fail(refusal.reason)
        case (.accepted, .gathering), (.accepted, .session), (.refused, _): break
        }
    }

    private func begin(
        _ offering: SessionOffering,
        _ acceptance: SessionAcceptance,
        body: [UInt8],
        peer: PublicKey,
        arrivedBy relay: RelayConnection
    ) {
        guard let ownKey else { return }
        let session: OutgoingSession
        do {
            session = try OutgoingSession(
                exit: self.address.publicKey,
                destination: self.destination,
                ownKey: ownKey,
                peer: peer,
                acceptance: acceptance,
                body: body,
                context: self.context
            )
        } catch {
            self.context.metrics.rejected(.invalidAnswer)
            return
        }
        self.plain?.link.update { $0.offerSettled(offering.outgoing.key, at: $1) }
        self.plain?.link.abandon()
        self.plain = nil
        self.offering = nil
        self.ownKey = nil
        self.session = session
        self.relays.catchesUp = false
        session.delegate = self
        self.negotiation.accepted()
        self.earlyBytes = offering.earlyBytes(taken: acceptance)
        self.context.metrics.sessionsOpened.increment()
        self.context.logger.info("session began", metadata: ["exit": "\(self.address.publicKey.npub)"])
        self.context.memory.spokeSession(self.address.publicKey)
        session.useRelays(of: acceptance, arrivedBy: relay, known: self.relays.all)
        self.serve()
    }

    /// The exit supports sessions, but its acceptance arrived after the fallback. The next request uses a session.
    private func acceptedLate() {
        self.offering = nil
        self.context.memory.spokeSession(self.address.publicKey)
        self.context.logger.info(
            "exit accepted the session after the fallback; new requests use a session",
            metadata: ["exit": "\(self.address.publicKey.npub)"]
        )
        self.delegate?.exitPeerDidRetire(self)
    }

    // MARK: End

    /// Fails all waiting requests and closes the peer. The next request creates a new peer.
    private func fail(_ reason: StreamEnd) {
        let waiting = self.queue.removeAll()
        let isPinned = self.context.memory.isPinned(self.address.publicKey)
        self.release()
        for opening in waiting {
            opening.fail(.offerFailed(reason, exit: self.address.publicKey, isPinned: isPinned))
        }
    }

    /// Ends all streams, notifies the exit, and releases the relays.
    func close(_ reason: StreamEnd?) {
        self.session?.close(reason)
        self.plain?.link.close(reason)
        self.release()
    }

    private func release() {
        guard !self.isClosed else { return }
        self.isClosed = true
        self.session?.stop()
        self.plain?.link.abandon()
        self.relays.release()
        self.delegate?.exitPeerDidClose(self)
    }
}

extension ExitPeer: ExitRelaysDelegate {
    func exitRelays(_ relays: ExitRelays, didReceive event: Event, for key: PublicKey, on relay: RelayConnection) {
        if let session { return session.receive(event, for: key, on: relay) }
        if let plain, event.pubkey == self.address.publicKey, let path = relays.path(of: relay) {
            plain.receive(event, for: key, path: path)
        } else {
            self.receiveAnswer(event, on: relay)
        }
    }

    func exitRelays(_ relays: ExitRelays, didBecomeReady path: PathID, on relay: RelayConnection) {
        self.plain?.link.addPath(path, relay)
        self.serve()
    }

    func exitRelays(_ relays: ExitRelays, didLose path: PathID) {
        self.plain?.link.removePath(path)
        self.serve()
    }

    func exitRelays(_ relays: ExitRelays, didChangeWritabilityOf path: PathID, to isWritable: Bool) {
        self.plain?.link.setWritable(path, isWritable)
    }

    func exitRelaysDidReceiveList(_ relays: ExitRelays) {
        if relays.hasList {
            let patience = self.context.configuration.relayPatience
            self.negotiation.receivedList(waitingUntil: .now() + patience)
            self.serveLater(after: patience)
        }
        self.serve()
    }
}

extension ExitPeer: SessionOfferingDelegate {
    func offeringDidFallBack(_ offering: SessionOffering) {
        // Another peer of the same exit may have established a session meanwhile.
        guard !self.context.memory.isPinned(self.address.publicKey) else { return self.fail(.sessionRequired) }
        self.negotiation.fellBack(at: .now())
        // Warn only if requests are waiting, and not if the exit was only measured.
        self.context.logger.log(
            level: self.queue.isEmpty ? .debug : .warning,
            "exit does not answer the offer of a session; using plain NIP-74 with it",
            metadata: ["exit": "\(self.address.publicKey.npub)"]
        )
        // The stream of the offer's CONNECT belongs to the first request.
        if let first = self.queue.removeFirst() { offering.handOver(to: first) } else { offering.discardStream() }
        self.serve()
        // A missing answer does not prove that the exit lacks sessions: it may be offline or overloaded. Each new
        // request offers a session again until the exit sends data.
        if self.plain?.link.hasReceivedData == false { self.delegate?.exitPeerDidRetire(self) }
    }

    func offering(_ offering: SessionOffering, didFail reason: StreamEnd) {
        if case .offering = self.negotiation.phase { self.fail(reason) }
    }
}

extension ExitPeer: PlainExitDelegate {
    func plainExitDidBecomeIdle(_ exit: PlainExit) { self.delegate?.exitPeerDidBecomeIdle(self) }
}

extension ExitPeer: OutgoingSessionDelegate {
    func session(_ session: OutgoingSession, needsRelay url: RelayURL) -> RelayConnection? {
        self.relays.useLater(url)
    }

    func sessionIsUnanswered(_ session: OutgoingSession) { session.askExit(on: self.relays.ready.map(\.relay)) }

    func sessionDidBecomeIdle(_ session: OutgoingSession) { self.delegate?.exitPeerDidBecomeIdle(self) }

    func session(_ session: OutgoingSession, didClose reason: StreamEnd?) {
        self.context.logger.info(
            "session ended",
            metadata: session.link.summary.merging(
                ["exit": "\(self.address.publicKey.npub)", "reason": "\(reason?.rawValue ?? "complete")"]
            ) { $1 }
        )
        if let reason { self.fail(reason) } else { self.release() }
    }
}
