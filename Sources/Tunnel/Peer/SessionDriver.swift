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

/// The owner of a ``SessionDriver``. Implements what differs between entry and exit.
protocol SessionDriverDelegate: AnyObject {
    /// The client opens a stream (exit).
    func session(_ session: SessionDriver, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision
    /// A message that is encrypted with the session's keys was received. Returns whether it is a packet for the engine.
    func session(
        _ session: SessionDriver,
        shouldReceive message: MessageSealer.Message,
        on relay: RelayConnection
    ) -> Bool
    /// An event for one of the session's keys was received from an author other than the peer.
    func session(
        _ session: SessionDriver,
        didReceiveFromStranger event: Event,
        for key: PublicKey,
        on relay: RelayConnection
    )
    /// The peer offers a direct path. Call ``SessionDriver/startDirect(isExit:isTrusted:sockets:_:)`` to take part.
    func sessionIsOfferedDirectPath(_ session: SessionDriver)
    /// The engine has emitted a signal. The driver itself handles the signals about keys and the direct path.
    func session(_ session: SessionDriver, didReceive signal: SessionSignal)
    /// Packets are sealed with the keys of another generation from now on.
    func session(_ session: SessionDriver, didUseKeysOf generation: Int)
    /// The subscription to a key of the session is active on a relay.
    func session(_ session: SessionDriver, didSubscribe key: PublicKey, on relay: RelayConnection)
    /// A relay rejects events of authors that it does not know.
    func session(_ session: SessionDriver, wasRejectedBy relay: RelayConnection)
    /// The last stream ended.
    func sessionDidBecomeIdle(_ session: SessionDriver)
}

/// Manages one session at the entry or at the exit: its link, the keys of each generation, and the relays of its paths.
///
/// Owned by an ``OutgoingSession`` or an ``IncomingSession``.
final class SessionDriver {
    let link: SessionLink
    private var exchange: SessionKeyExchange
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger
    weak var delegate: (any SessionDriverDelegate)?

    /// The relays on which the driver subscribes to the session's keys, by path number.
    private var relays: [PathID: RelayConnection] = [:]
    private var barriers: [PublicKey: SubscriptionBarrier] = [:]
    /// The direct path, if addresses are exchanged with the peer.
    private var direct: DirectLink?

    init(
        _ link: SessionLink,
        exchange: SessionKeyExchange,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger
    ) {
        self.link = link
        self.exchange = exchange
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        link.delegate = self
    }

    // MARK: Relays

    /// Uses a relay as a path: subscribes to the session's keys on it, and adds the path when the subscription is
    /// active.
    func addRelay(_ relay: RelayConnection, as path: PathID) {
        self.relays[path] = relay
        for key in self.link.sealer.ownKeys { self.subscribe(key, on: relay) }
    }

    /// Stops using a relay.
    func removeRelay(_ path: PathID) {
        guard let relay = self.relays.removeValue(forKey: path) else { return }
        self.link.removePath(path)
        for key in self.link.sealer.ownKeys { relay.unsubscribe(key) }
    }

    func relay(of path: PathID) -> RelayConnection? { self.relays[path] }

    func path(of relay: RelayConnection) -> PathID? { self.relays.first { $0.value === relay }?.key }

    /// The relays in the order of their paths.
    private var relaysInOrder: [RelayConnection] {
        self.relays.sorted { $0.key.rawValue < $1.key.rawValue }.map(\.value)
    }

    private func subscribe(_ key: PublicKey, on relay: RelayConnection) {
        // Do not request missed packets from the relay, because the peer retransmits them.
        if relay.subscribe(key, to: self, catchesUp: false) { self.relay(relay, didSubscribe: key) }
    }

    // MARK: Direct path

    /// Begins to look for a direct path: offers this node's addresses to the peer. Does nothing if it has begun before, or the
    /// sockets are not open.
    ///
    /// - Parameters:
    ///   - isExit: Whether this node is the exit.
    ///   - isTrusted: Whether each side knows the other's identity.
    ///   - sockets: The sockets of this node.
    ///   - configuration: The configured addresses.
    func startDirect(isExit: Bool, isTrusted: Bool, sockets: DatagramSockets, _ configuration: DirectConfiguration) {
        guard self.direct == nil, sockets.isOpen, self.link.engine.peerTakesDatagrams,
            let secret = self.exchange.firstDatagramSecret
        else { return }
        let direct = DirectLink(
            self.link,
            isExit: isExit,
            secret: secret,
            isTrusted: isTrusted,
            sockets: sockets,
            configuration: configuration,
            relays: { [weak self] in self?.relaysInOrder ?? [] },
            loop: self.loop,
            metrics: self.metrics,
            logger: self.logger
        )
        self.direct = direct
        self.link.sendDirectly = { [weak direct] in direct?.send($0, number: $1) ?? true }
        direct.start()
    }

    /// The direct path; without one, the reason.
    ///
    /// - Parameters:
    ///   - sockets: The sockets of this node; nil if direct paths are off.
    ///   - isAllowed: Whether this node would offer this peer a direct path.
    func directStatus(_ sockets: DatagramSockets?, isAllowed: Bool) -> DirectStatus {
        if let direct { return direct.status }
        guard let sockets else { return .none(.off) }
        guard self.link.engine.peerTakesDatagrams else { return .none(.peer) }
        guard isAllowed else { return .none(.stranger) }
        return .none(sockets.isOpen ? .waiting : .noSocket)
    }

    // MARK: Keys

    /// The transcript of a generation. Nil if the generation is not in use.
    func transcript(of generation: Int) -> SessionTranscript? { self.exchange.transcript(of: generation) }

    /// Starts an update (client).
    private func makeKey(_ generation: Int) throws(CryptoError) {
        let (own, message) = try self.exchange.begin(generation)
        self.link.updateKeys { $0.prepare(generation, own: own) }
        self.subscribe(own.publicKey, beforeSending: message)
    }

    /// Answers an update (exit).
    private func answer(_ client: KeyUpdate) throws(CryptoError) {
        let (generation, message) = try self.exchange.answer(client)
        self.link.updateKeys { $0.add(generation) }
        self.direct?.add(generation.number, generation.secrets.datagrams)
        self.subscribe(generation.own.publicKey, beforeSending: message)
    }

    /// Completes an update (client).
    private func complete(_ exit: KeyUpdate) throws(CryptoError) {
        let generation = try self.exchange.complete(exit)
        self.link.updateKeys { $0.add(generation) }
        self.direct?.add(generation.number, generation.secrets.datagrams)
    }

    /// Subscribes to a new session key on all relays, and then sends the message that contains it.
    private func subscribe(_ key: PublicKey, beforeSending message: KeyUpdate) {
        let relays = self.relaysInOrder
        let link = self.link
        self.barriers[key] = SubscriptionBarrier(relays, loop: self.loop) {
            link.update { $0.keyPrepared(message, at: $1) }
        }
        for relay in relays { self.subscribe(key, on: relay) }
    }

    /// Ends the session if the peer's keys are invalid.
    private func closingOnFailure(_ body: () throws(CryptoError) -> Void) {
        do {
            try body()
        } catch {
            self.logger.debug("key update failed", metadata: ["peer": "\(self.link.peer)", "error": "\(error)"])
            self.link.update { $0.close(.protocolViolation, at: $1) }
        }
    }

    private func eraseKey(_ generation: Int) {
        self.direct?.erase(generation)
        guard let key = self.link.updateKeys({ $0.erase(generation) }) else { return }
        self.exchange.erase(generation)
        self.barriers[key] = nil
        for relay in self.relays.values { relay.unsubscribe(key) }
    }

    // MARK: End

    /// Unsubscribes all keys and stops without notifying the peer. To notify it, call ``PeerLink/close(_:)`` first.
    func stop() {
        for key in self.link.sealer.ownKeys {
            for relay in self.relays.values { relay.unsubscribe(key) }
        }
        self.relays = [:]
        self.barriers = [:]
        self.direct?.stop()
        self.link.abandon()
    }
}

extension SessionDriver: RelaySubscriber {
    func relay(_ relay: RelayConnection, didReceive event: Event, for key: PublicKey) {
        // The signature is not verified. NIP-44 authenticates the content with the keys of the session, packet numbers
        // prevent replays, and no other part of the event is used. Relays verify signatures.
        guard self.link.sealer.opens(recipient: key, author: event.pubkey) else {
            self.delegate?.session(self, didReceiveFromStranger: event, for: key, on: relay)
            return
        }
        guard let message = self.link.open(event, recipient: key),
            self.delegate?.session(self, shouldReceive: message, on: relay) == true
        else { return }
        // The engine rejects a packet from a relay that has no path number.
        self.link.receive(message, path: self.path(of: relay) ?? PathID(rawValue: -1))
    }

    /// The peer's answers come later than the relay has handled the REQ, so packets need not wait for that.
    func relay(_ relay: RelayConnection, didRequest key: PublicKey) {
        if let path = self.path(of: relay), !relay.requiresAuthentication { self.link.addPath(path, relay) }
    }

    func relay(_ relay: RelayConnection, didReject key: PublicKey) { self.relayDidDisconnect(relay) }

    func relay(_ relay: RelayConnection, didSubscribe key: PublicKey) {
        if let path = self.path(of: relay) { self.link.addPath(path, relay) }
        self.barriers[key]?.subscribed(on: relay)
        self.delegate?.session(self, didSubscribe: key, on: relay)
    }

    func relayDidDisconnect(_ relay: RelayConnection) {
        if let path = self.path(of: relay) { self.link.removePath(path) }
    }

    func relay(_ relay: RelayConnection, didChangeWritability isWritable: Bool) {
        if let path = self.path(of: relay) { self.link.setWritable(path, isWritable) }
    }
}

extension SessionDriver: PeerLinkDelegate {
    func link(_ link: SessionLink, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        self.delegate?.session(self, isAskedFor: request, as: id) ?? .refused(.shuttingDown)
    }

    func link(_ link: SessionLink, didReceive signal: SessionSignal) {
        switch signal {
        case .makeKey(let generation):
            self.closingOnFailure { () throws(CryptoError) in try self.makeKey(generation) }
        case .answerKey(let message):
            self.closingOnFailure { () throws(CryptoError) in try self.answer(message) }
        case .completeKey(let message):
            self.closingOnFailure { () throws(CryptoError) in try self.complete(message) }
        case .sealUnder(let generation):
            link.updateKeys { $0.use(generation) }
            self.direct?.use(generation)
            self.logger.debug("session uses new keys", metadata: ["peer": "\(link.peer)"])
            self.delegate?.session(self, didUseKeysOf: generation)
        case .eraseKey(let generation): self.eraseKey(generation)
        case .direct(let frame):
            self.delegate?.sessionIsOfferedDirectPath(self)
            // Without it, this node does not want to exchange addresses with this peer.
            self.direct?.receive(frame)
        case .directPathIsSilent: self.direct?.suspect()
        case .identified, .pathOffered, .ticket, .duplicateKey, .askPeer, .closed:
            self.delegate?.session(self, didReceive: signal)
        }
    }

    func link(_ link: SessionLink, wasRejectedBy relay: RelayConnection) {
        self.delegate?.session(self, wasRejectedBy: relay)
    }

    func linkDidBecomeIdle(_ link: SessionLink) { self.delegate?.sessionDidBecomeIdle(self) }
}
