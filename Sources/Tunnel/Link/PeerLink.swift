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

/// One peer: drives the dialect with it, seals and signs what goes out, and hands bytes to the streams' endpoints.
///
/// Lives on its loop, as do the relay connections and the sockets of its streams: nothing hops between threads, and
/// what the dialect says in one order happens in that order.
final class PeerLink {
    /// Called for a stream that the peer opens (exit). Returns its endpoint, or why it is refused.
    typealias IncomingHandler = (PeerLink, StreamID, StreamRequest) -> IncomingAnswer

    /// What becomes of a stream that the peer opens.
    enum IncomingAnswer {
        case accepted(any StreamEndpoint)
        case refused(StreamEnd)
    }

    /// What a link asks of whoever holds it, beside relays.
    struct Owner {
        /// A client offers a session (exit).
        var onOffer: (PeerLink, SessionOffer) -> Void = { _, _ in }
        /// A client asks the exit to connect to it (exit).
        var onReverse: (PeerLink, ReverseRequest) -> Void = { _, _ in }
        /// Messages for this key of ours are to be heard; the closure is called when they are.
        var hear: (PeerLink, PublicKey, @escaping () -> Void) -> Void = { _, _, heard in heard() }
        /// Messages for this key are not heard any more.
        var unhear: (PeerLink, PublicKey) -> Void = { _, _ in }
        /// The client says who it is (exit). Returns the key if it is proven.
        var identified: (PeerLink, ClientIdentity) -> PublicKey? = { _, _ in nil }
        /// The peer is silent: ask whether it still has the session.
        var askPeer: (PeerLink) -> Void = { _ in }
        /// A relay does not take the session's events.
        var pathRefused: (PeerLink, PathID) -> Void = { _, _ in }
        /// The peer hears the session on one more relay.
        var pathOffered: (PeerLink, SessionPathOffer) -> Void = { _, _ in }
        /// The last stream ended.
        var becameIdle: () -> Void = {}
        /// The first bytes of a stream came.
        var heardData: (PeerLink) -> Void = { _ in }
        /// The session is over.
        var closed: (PeerLink, StreamEnd?) -> Void = { _, _ in }
    }

    let startedAt = NIODeadline.now()
    /// The peer's key at the beginning; names the link in logs.
    let peer: PublicKey
    var keys: LinkKeys
    /// Who the client is, if it proved that (exit).
    private(set) var identity: PublicKey?
    var dialect: any Dialect
    /// Whether event ids are remembered here. A session's packets have numbers.
    let remembersEvents: Bool
    let owner: Owner
    private let loop: any EventLoop
    let metrics: TunnelMetrics
    let logger: Logger
    private let onIncoming: IncomingHandler
    let connections: (PathID) -> RelayConnection?

    private var endpoints: [StreamID: any StreamEndpoint] = [:]
    private var nextStream: UInt64 = 0
    private var isDraining = false
    private var isClosed = false
    private var hasHeardData = false
    var deduplicator = EventDeduplicator(capacity: 8_192)
    /// Bytes of streams.
    private var sentBytes = 0
    private var receivedBytes = 0
    /// How many were performed.
    private var actions: UInt64 = 0
    private var timer: (deadline: NIODeadline, task: Scheduled<Void>)?
    /// When the last stream ended; nil while there is one.
    private(set) var idleSince: NIODeadline?

    /// - Throws: If the peer's key is not on the curve.
    init(
        peer: PublicKey,
        ownKey: SecretKey,
        dialect: any Dialect,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger,
        owner: Owner = Owner(),
        connections: @escaping (PathID) -> RelayConnection?,
        onIncoming: @escaping IncomingHandler = { _, _, _ in .refused(.notAllowed) }
    ) throws(CryptoError) {
        self.peer = peer
        self.keys = LinkKeys(try LinkKeys.Pair(own: ownKey, peer: peer))
        self.dialect = dialect
        self.remembersEvents = !(dialect is SessionStateMachine)
        self.owner = owner
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.connections = connections
        self.onIncoming = onIncoming
        self.idleSince = .now()
    }

    /// What a line of log says at its end.
    var summary: Logger.Metadata {
        [
            "sent": "\(self.sentBytes)", "received": "\(self.receivedBytes)",
            "ms": "\((NIODeadline.now() - self.startedAt).nanoseconds / 1_000_000)",
        ]
    }

    /// Whether no byte of a stream came so far.
    var isSilent: Bool { !self.hasHeardData }

    /// Streams that are not over.
    var streamCount: Int { self.dialect.streamCount }

    /// Whether nothing is lost by forgetting the peer.
    var isIdle: Bool { self.dialect.isIdle }

    var now: Moment { .now }

    // MARK: Paths

    func addPath(_ path: PathID, _ description: PathDescription) {
        self.dialect.addPath(path, description, at: self.now)
        self.drain()
    }

    /// Tells the peer of one more relay.
    func offerPath(_ offer: SessionPathOffer) {
        self.dialect.offerPath(offer, at: self.now)
        self.drain()
    }

    func removePath(_ path: PathID) {
        self.dialect.removePath(path, at: self.now)
        self.drain()
    }

    func setWritable(_ path: PathID, _ isWritable: Bool) {
        self.dialect.setWritable(path, isWritable, at: self.now)
        self.drain()
    }

    // MARK: Streams

    /// Opens a stream through the best of `paths` that takes it; nil if the peer takes no more of them: a number that is
    /// taken and not used would be a gap in its books.
    ///
    /// - Parameter earlyBytes: How many of its first bytes the peer has already.
    func open(
        _ request: StreamRequest,
        paths: [PathID],
        earlyBytes: Int = 0,
        endpoint: any StreamEndpoint
    ) -> StreamID? {
        guard self.dialect.hasRoomForStream else { return nil }
        let id = self.makeStream(endpoint)
        self.dialect.open(id, request, paths: paths, at: self.now)
        self.dialect.assumeSent(id, earlyBytes)
        self.drain()
        return id
    }

    /// Opens a stream of NIP-74 and offers a session with it.
    func open(offering offer: OutgoingOffer, paths: [PathID], endpoint: any StreamEndpoint) -> StreamID {
        let id = self.makeStream(endpoint)
        self.dialect.open(id, offering: offer, paths: paths, at: self.now)
        self.drain()
        return id
    }

    /// Takes the early data of an offer.
    func receiveEarly(_ request: StreamRequest, _ data: [UInt8]) {
        self.dialect.receiveEarly(request, ByteBuffer(bytes: data), at: self.now)
        self.drain()
    }

    /// The offer became a session.
    func offerSettled(_ key: String) {
        self.dialect.offerSettled(key, at: self.now)
        self.drain()
    }

    private func makeStream(_ endpoint: any StreamEndpoint) -> StreamID {
        self.nextStream += 1
        let id = StreamID(rawValue: self.nextStream)
        self.endpoints[id] = endpoint
        self.idleSince = nil
        return id
    }

    /// Another endpoint takes over.
    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        guard self.endpoints[id] != nil else { return }
        self.endpoints[id] = endpoint
    }

    func connected(_ id: StreamID) {
        self.dialect.connected(id, at: self.now)
        self.drain()
    }

    func send(_ id: StreamID, _ data: ByteBuffer) {
        self.metrics.bytesSent.increment(by: Int64(data.readableBytes))
        self.sentBytes += data.readableBytes
        self.dialect.send(id, data, at: self.now)
        self.drain()
    }

    func finish(_ id: StreamID) {
        self.dialect.finish(id, at: self.now)
        self.drain()
    }

    /// Ends a stream from this side; its endpoint hears nothing more.
    func reset(_ id: StreamID, _ reason: StreamEnd) {
        guard self.endpoints.removeValue(forKey: id) != nil else { return }
        self.metrics.ended(reason)
        self.dialect.reset(id, reason, at: self.now)
        self.noteIdleness()
        self.drain()
    }

    func consumed(_ id: StreamID, _ bytes: Int) {
        self.dialect.consumed(id, bytes, at: self.now)
        self.drain()
    }

    /// Ends every stream, and tells the peer; nil if all is in order.
    func close(_ reason: StreamEnd?) {
        self.dialect.close(reason, at: self.now)
        self.drain()
        self.timer?.task.cancel()
        self.timer = nil
        self.isClosed = true
    }

    /// Lets go of everything without a word.
    func abandon() {
        self.isClosed = true
        self.timer?.task.cancel()
        self.timer = nil
    }

    // MARK: Actions

    /// Does what the dialect wants. Inputs that come in meanwhile are served by the same run.
    func drain() {
        guard !self.isDraining else { return }
        self.isDraining = true
        while let action = self.dialect.nextAction() {
            self.perform(action)
            self.actions &+= 1
        }
        self.isDraining = false
        self.armTimer()
    }

    private func perform(_ action: DialectAction) {
        switch action {
        case .publish(let token, let plaintext, let createdAt, let paths):
            self.publish(token, plaintext: plaintext, createdAt: createdAt, paths: paths)
        case .incoming(let id, let request):
            self.metrics.streamsOpened.increment()
            self.idleSince = nil
            switch self.onIncoming(self, id, request) {
            case .accepted(let endpoint):
                self.endpoints[id] = endpoint
            case .refused(let reason):
                self.metrics.ended(reason)
                self.dialect.reset(id, reason, at: self.now)
                self.noteIdleness()
            }
        case .opened(let id):
            self.metrics.streamsOpened.increment()
            self.endpoints[id]?.opened()
        case .credit(let id, let bytes):
            self.endpoints[id]?.credit(bytes)
        case .data(let id, let data):
            self.metrics.bytesReceived.increment(by: Int64(data.readableBytes))
            self.receivedBytes += data.readableBytes
            if !self.hasHeardData {
                self.hasHeardData = true
                self.owner.heardData(self)
            }
            self.endpoints[id]?.receive(data)
        case .finished(let id):
            self.endpoints[id]?.finished()
        case .ended(let id, let reason):
            self.metrics.ended(reason)
            let endpoint = self.endpoints.removeValue(forKey: id)
            self.noteIdleness()
            endpoint?.ended(reason)
        case .offered(let offer):
            self.owner.onOffer(self, offer)
        case .reverse(let request):
            self.owner.onReverse(self, request)
        case .session(let action):
            self.perform(action)
        case .report(let report):
            self.metrics.reported(report)
            self.logger.debug("\(report.rawValue)", metadata: ["peer": "\(self.peer)"])
        }
    }

    private func perform(_ action: SessionAction) {
        switch action {
        case .makeKey(let generation):
            let key = self.keys.prepare(generation).publicKey
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            self.owner.hear(self, key) {
                bound.value.dialect.keyPrepared(generation, key, at: bound.value.now)
                bound.value.drain()
            }
        case .pair(let generation, let peer):
            do {
                try self.keys.complete(generation, peer: peer)
            } catch {
                self.dialect.close(.protocolViolation, at: self.now)
            }
        case .sealUnder(let generation):
            self.keys.seal(under: generation)
            self.logger.debug("session has fresh keys", metadata: ["peer": "\(self.peer)"])
        case .eraseKey(let generation):
            if let key = self.keys.erase(generation) { self.owner.unhear(self, key) }
        case .identified(let identity):
            self.identity = self.owner.identified(self, identity)
            if self.identity == nil { self.metrics.rejected(.invalidIdentity) }
        case .pathOffered(let offer):
            self.owner.pathOffered(self, offer)
        case .askPeer:
            self.owner.askPeer(self)
        case .closed(let reason):
            self.owner.closed(self, reason)
        }
    }

    private func noteIdleness() {
        guard self.endpoints.isEmpty else { return }
        self.idleSince = .now()
        self.owner.becameIdle()
    }

    private func armTimer(notBefore earliest: NIODeadline = .uptimeNanoseconds(0)) {
        guard !self.isClosed, let wanted = self.dialect.nextDeadline else {
            self.timer?.task.cancel()
            self.timer = nil
            return
        }
        let deadline = max(wanted, earliest)
        if let timer = self.timer, timer.deadline <= deadline { return }
        self.timer?.task.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let task = self.loop.scheduleTask(deadline: deadline) { bound.value.timerFired() }
        self.timer = (deadline, task)
    }

    private func timerFired() {
        self.timer = nil
        let before = self.actions
        self.dialect.timeout(at: self.now)
        self.drain()
        // Time that is over and brought nothing must not be asked again at once: the loop would do nothing else.
        guard before == self.actions, let timer = self.timer, timer.deadline <= .now() else { return }
        timer.task.cancel()
        self.timer = nil
        self.armTimer(notBefore: .now() + Self.fruitlessPause)
    }

    private static let fruitlessPause: TimeAmount = .milliseconds(5)
}
