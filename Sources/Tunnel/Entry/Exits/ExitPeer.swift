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
    private let logger: Logger
    weak var delegate: (any ExitPeerDelegate)?

    /// The client's key for the offer, for plain NIP-74, and for the first generation of a session. Set to nil when a
    /// session takes it over.
    private var ownKey: SecretKey?
    private let relays: ExitRelays
    private var queue = OpenQueue()
    private var negotiation: Negotiation
    private(set) var link = ExitLink.none
    /// Number of bytes of the first opening that the exit accepted with the offer.
    private var earlyBytes = 0
    /// Whether to begin a session without a waiting stream, to measure the exit.
    private var isMeasured = false
    private var isClosed = false
    /// When the wait for other relays ends, for which a timer was set.
    private var serveDeadline: NIODeadline?

    /// - Parameter policy: The policy for the relays of the address.
    init(_ address: ExitAddress, policy: DialPolicy, context: EntryContext) {
        self.address = address
        self.context = context
        var logger = context.logger
        logger[metadataKey: "exit"] = "\(address.publicKey.npub)"
        self.logger = logger
        self.negotiation = Negotiation(
            context.memory.opening(with: address.publicKey),
            gatheringDeadline: .now() + context.configuration.relayGathering,
            slowerRelayTimeout: context.configuration.slowerRelayTimeout
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

    /// The time since which there is no stream and no waiting request. Nil while there is one.
    var idleSince: NIODeadline? {
        self.queue.isEmpty ? self.link.idleSince(withoutLink: self.startedAt) : nil
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
        self.giveUp(number, after: self.context.configuration.relayConnectTimeout, onlyIfUnreachable: true)
        self.giveUp(number, after: self.context.configuration.relayTimeout, onlyIfUnreachable: false)
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

    private func giveUp(_ number: UInt64, after delay: TimeAmount, onlyIfUnreachable: Bool) {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: delay) {
            let peer = bound.value
            guard
                peer.negotiation.givesUp(
                    onlyIfUnreachable: onlyIfUnreachable,
                    isUnreachable: peer.relays.isUnreachable
                )
            else { return }
            peer.queue.remove(number)?.fail(.relaysUnreachable(peer.relays.problems))
        }
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
        case .wait(let deadline?) where deadline != self.serveDeadline:
            self.serveDeadline = deadline
            self.serveLater(after: deadline - .now())
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
            switch self.link {
            // There was no key for a link.
            case .none: opening.fail(.offerFailed(.exitSilent, exit: self.address.publicKey, isPinned: false))
            case .plain(let plain): plain.open(opening, opening.streamRequest, paths: self.relays.ready)
            case .session(let session):
                // Only the bytes of the first request can have been sent with the offer.
                let early = min(self.earlyBytes, opening.earlyData.count)
                self.earlyBytes = 0
                session.open(opening, opening.streamRequest, earlyBytes: early)
            }
        }
    }

    /// Begins plain NIP-74. Returns nil if the exit's key is not on the curve. It was checked when the name was decoded.
    @discardableResult
    private func makePlain() -> PlainExit? {
        guard let ownKey, let plain = PlainExit(self.address, ownKey: ownKey, context: self.context) else { return nil }
        self.link = .plain(plain)
        plain.delegate = self
        for (path, relay) in self.relays.ready { plain.link.addPath(path, relay) }
        return plain
    }

    /// Offers a session with a CONNECT that any exit understands.
    private func offer(mayFallBack: Bool) {
        self.isMeasured = false
        guard let plain = self.makePlain() else { return }
        self.offer(by: plain, mayFallBack: mayFallBack, credential: self.context.takeCredential(for: self.address))
    }

    private func offer(by plain: PlainExit, mayFallBack: Bool, credential: Credential?) {
        do {
            try plain.offer(
                credential: credential,
                opening: self.opening(mayFallBack: mayFallBack, credential: credential),
                mayFallBack: mayFallBack,
                paths: self.relays.ready.map(\.path)
            )
        } catch {
            self.fail(.exitSilent)
        }
    }

    /// Returns the stream to open together with the session. What an offer contains has no forward secrecy, so the data of
    /// the stream is sent only to exits that are known to support sessions.
    private func opening(mayFallBack: Bool, credential: Credential?) -> OfferTerms.Opening? {
        let sendsData =
            !mayFallBack && self.context.configuration.isOptimistic
            && self.context.memory.isPinned(self.address.publicKey)
        guard sendsData || credential?.kind == .ticket else { return nil }
        // A relay that reports a wrong time and holds the offer back could have it served much later.
        guard RelayConnection.clockCorrection(of: self.relays.all) == 0 else { return nil }
        guard let opening = self.queue.first?.openingOfOffer(withData: sendsData),
            !opening.data.isEmpty || credential?.kind == .ticket
        else { return nil }
        return opening
    }

    /// Reports an exit that has sent nothing since the fallback. Plain NIP-74 has no answer to a CONNECT, so the streams
    /// look open to their clients, and only wait.
    private func reportSilenceLater() {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: EntryConfiguration.silenceReport) {
            let peer = bound.value
            guard !peer.isClosed, case .plain(let plain) = peer.link, !plain.link.hasReceivedData,
                plain.link.streamCount > 0
            else { return }
            peer.logger.error(
                "no answer from the exit: it is offline, or this device is not authorized",
                metadata: ["remedy": "\(peer.context.configuration.remedyText(.identity))"]
            )
        }
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
        self.link.close(reason)
        self.release()
    }

    private func release() {
        guard !self.isClosed else { return }
        self.isClosed = true
        self.link.stop()
        self.relays.release()
        self.delegate?.exitPeerDidClose(self)
    }
}

extension ExitPeer: ExitRelaysDelegate {
    func exitRelays(_ relays: ExitRelays, didReceive event: Event, for key: PublicKey, on relay: RelayConnection) {
        switch self.link {
        case .session(let session): session.receive(event, for: key, on: relay)
        case .plain(let plain): plain.receive(event, for: key, on: relay, path: relays.path(of: relay))
        case .none: self.context.metrics.rejected(.wrongAuthor)
        }
    }

    func exitRelays(_ relays: ExitRelays, didBecomeReady path: PathID, on relay: RelayConnection) {
        self.link.addPath(path, relay)
        self.serve()
    }

    func exitRelays(_ relays: ExitRelays, didLose path: PathID) {
        self.link.removePath(path)
        self.serve()
    }

    func exitRelays(_ relays: ExitRelays, didChangeWritabilityOf path: PathID, to isWritable: Bool) {
        self.link.setWritable(path, isWritable)
    }

    func exitRelaysDidReceiveList(_ relays: ExitRelays) {
        if relays.hasList {
            self.negotiation.receivedList(waitingUntil: .now() + self.context.configuration.relayConnectTimeout)
        }
        self.serve()
    }
}

extension ExitPeer: PlainExitDelegate {
    func plainExit(
        _ exit: PlainExit,
        didBegin session: OutgoingSession,
        earlyBytes: Int,
        on relay: RelayConnection
    ) {
        exit.link.abandon()
        self.link = .session(session)
        self.ownKey = nil
        self.relays.catchesUp = false
        session.delegate = self
        self.negotiation.accepted()
        self.earlyBytes = earlyBytes
        self.context.metrics.sessionsOpened.increment()
        self.logger.info("session began")
        self.context.memory.recordSession(self.address.publicKey)
        session.useRelays(arrivedBy: relay, known: self.relays.all)
        self.serve()
    }

    func plainExitDidFallBack(_ exit: PlainExit) {
        // Another peer of the same exit may have established a session meanwhile.
        guard !self.context.memory.isPinned(self.address.publicKey) else { return self.fail(.sessionRequired) }
        self.negotiation.fellBack(at: .now())
        // Warn only if requests are waiting, and not if the exit was only measured.
        self.logger.log(
            level: self.queue.isEmpty ? .debug : .warning,
            "exit does not answer the offer of a session; using plain NIP-74 with it"
        )
        if !self.queue.isEmpty { self.reportSilenceLater() }
        // The stream of the offer's CONNECT belongs to the first request.
        exit.handOverOffer(to: self.queue.removeFirst())
        self.serve()
        // A missing answer does not prove that the exit lacks sessions: it may be offline or overloaded. Each new
        // request offers a session again until the exit sends data.
        if !exit.link.hasReceivedData { self.delegate?.exitPeerDidRetire(self) }
    }

    func plainExitNeedsOtherCredential(_ exit: PlainExit) {
        let mayFallBack = self.negotiation.mayFallBack
        self.offer(
            by: exit,
            mayFallBack: mayFallBack,
            credential: self.context.identityCredential(for: self.address)
        )
    }

    func plainExit(_ exit: PlainExit, didFailToOffer reason: StreamEnd) { self.fail(reason) }

    func plainExit(_ exit: PlainExit, didAcceptLate terms: AcceptanceTerms) {
        self.context.memory.recordSession(self.address.publicKey)
        self.delegate?.exitPeerDidRetire(self)
        guard terms.wantsIdentity else {
            return self.logger.info("exit accepted the session after the fallback; new requests use a session")
        }
        // An exit with an access list does not answer plain NIP-74, so its streams would only wait.
        self.logger.warning(
            "exit accepted the session only after the fallback to plain NIP-74, which it does not answer; its streams are reset, new requests use a session"
        )
        self.close(.connectionReset)
    }

    func plainExitDidBecomeIdle(_ exit: PlainExit) { self.delegate?.exitPeerDidBecomeIdle(self) }
}

extension ExitPeer: OutgoingSessionDelegate {
    func session(_ session: OutgoingSession, needsRelay url: RelayURL) -> RelayConnection? {
        self.relays.useAdditional(url)
    }

    func sessionIsUnanswered(_ session: OutgoingSession) { session.askExit(on: self.relays.ready.map(\.relay)) }

    func sessionDidBecomeIdle(_ session: OutgoingSession) { self.delegate?.exitPeerDidBecomeIdle(self) }

    func session(_ session: OutgoingSession, didClose reason: StreamEnd?) {
        var metadata = session.link.summary
        metadata["reason"] = "\(reason?.rawValue ?? "complete")"
        self.logger.info("session ended", metadata: metadata)
        if let reason { self.fail(reason) } else { self.release() }
    }
}
