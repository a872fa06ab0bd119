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

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// One peer: drives the dialect with it, seals and signs what goes out, and hands bytes to the streams' endpoints.
///
/// Lives on its loop, as do the relay connections and the sockets of its streams: nothing hops between threads, and
/// what the dialect says in one order happens in that order.
final class PeerLink {
    /// Called for a stream that the peer opens (exit). Returns its endpoint, or nil to refuse.
    typealias IncomingHandler = (PeerLink, StreamID, StreamRequest) -> (any StreamEndpoint)?

    let peer: PublicKey
    let ownKey: SecretKey
    private let conversation: ConversationKey
    private var dialect: any Dialect
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger
    private let onIncoming: IncomingHandler
    private let connections: (PathID) -> RelayConnection?

    private var endpoints: [StreamID: any StreamEndpoint] = [:]
    private var nextStream: UInt64 = 0
    private var isDraining = false
    private var deduplicator = EventDeduplicator(capacity: 8_192)
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
        connections: @escaping (PathID) -> RelayConnection?,
        onIncoming: @escaping IncomingHandler = { _, _, _ in nil }
    ) throws(CryptoError) {
        self.peer = peer
        self.ownKey = ownKey
        self.conversation = try ConversationKey(secretKey: ownKey, publicKey: peer)
        self.dialect = dialect
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.connections = connections
        self.onIncoming = onIncoming
        self.idleSince = .now()
    }

    /// Streams that are not over.
    var streamCount: Int { self.dialect.streamCount }

    /// Whether nothing is lost by forgetting the peer.
    var isIdle: Bool { self.dialect.isIdle }

    private var now: Moment {
        Moment(monotonic: .now(), seconds: Int64(Date().timeIntervalSince1970))
    }

    // MARK: Paths

    func addPath(_ path: PathID, _ description: PathDescription) {
        self.dialect.addPath(path, description)
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

    /// Opens a stream through the best of `paths` that takes it.
    func open(port: UInt16, paths: [PathID], endpoint: any StreamEndpoint) -> StreamID {
        self.nextStream += 1
        let id = StreamID(rawValue: self.nextStream)
        self.endpoints[id] = endpoint
        self.idleSince = nil
        self.dialect.open(id, port: port, paths: paths, at: self.now)
        self.drain()
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

    /// Ends every stream.
    func resetAll(_ reason: StreamEnd) {
        for (id, endpoint) in self.endpoints {
            self.reset(id, reason)
            endpoint.ended(reason)
        }
        self.timer?.task.cancel()
        self.timer = nil
    }

    // MARK: Events

    /// Takes a verified event whose author is the peer.
    func receive(_ event: Event, path: PathID) {
        // Strangers can fill what the whole node remembers, but not this: a stream's bytes come once.
        guard self.deduplicator.insert(event.id) else {
            self.metrics.rejected(.duplicate)
            return
        }
        let plaintext: [UInt8]
        do {
            plaintext = try self.conversation.open(Array(event.content.readableBytesView))
        } catch {
            self.metrics.rejected(.undecryptable)
            self.logger.debug("undecryptable event dropped", metadata: ["error": "\(error)", "peer": "\(self.peer)"])
            return
        }
        self.dialect.receive(plaintext, createdAt: event.createdAt, path: path, at: self.now)
        self.drain()
    }

    private func publish(_ token: MessageToken, plaintext: [UInt8], createdAt: Int64, paths: [PathID]) {
        do {
            let event = try Event.signed(
                by: self.ownKey,
                createdAt: createdAt,
                kind: .tunnelMessage,
                tags: [Tag("p", ByteString(self.peer.hex))],
                content: ByteBuffer(bytes: try self.conversation.seal(plaintext))
            )
            self.send(event.id, ClientMessage.encodeEvent(event), token, paths)
        } catch {
            // Neither sealing nor signing fails with keys and lengths that got this far.
            self.logger.error("cannot seal a message", metadata: ["error": "\(error)"])
            self.dialect.published(token, .rejected(.refused), at: self.now)
        }
    }

    /// Sends one event by every path; reports the first acceptance, or the last failure.
    private func send(_ id: EventID, _ message: ByteBuffer, _ token: MessageToken, _ paths: [PathID]) {
        var unanswered = paths.count
        var isReported = false
        func report(_ outcome: PublishOutcome) {
            unanswered -= 1
            if case .accepted = outcome {} else if unanswered > 0 { return }
            guard !isReported else { return }
            isReported = true
            self.dialect.published(token, outcome, at: self.now)
            self.drain()
        }
        for path in paths {
            guard let connection = self.connections(path) else {
                report(.rejected(.unreachable))
                continue
            }
            connection.publish(id, message) { result in report(Self.outcome(result, path)) }
            if connection.isOpen, !connection.isWritable { self.dialect.setWritable(path, false, at: self.now) }
        }
    }

    private static func outcome(_ result: RelayConnection.PublishResult, _ path: PathID) -> PublishOutcome {
        switch result {
        // Silence is not a no: some relays never answer.
        case .accepted, .unanswered: .accepted(path)
        case .rejected(let reason):
            switch reason.prefix {
            // Asked to authenticate, which the connection does: later is worth a try too.
            case .rateLimited, .authRequired: .rejected(.rateLimited)
            case .mute: .rejected(.nobodyListens)
            case .duplicate, .pow, .blocked, .invalid, .restricted, .error, nil: .rejected(.refused)
            }
        case .unreachable: .rejected(.unreachable)
        case .lost: .lost
        }
    }

    // MARK: Actions

    /// Does what the dialect wants. Inputs that come in meanwhile are served by the same run.
    private func drain() {
        guard !self.isDraining else { return }
        self.isDraining = true
        while let action = self.dialect.nextAction() {
            self.perform(action)
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
            guard let endpoint = self.onIncoming(self, id, request) else {
                self.metrics.ended(.tooManyStreams)
                self.dialect.reset(id, .tooManyStreams, at: self.now)
                self.noteIdleness()
                return
            }
            self.endpoints[id] = endpoint
        case .opened(let id):
            self.metrics.streamsOpened.increment()
            self.endpoints[id]?.opened()
        case .credit(let id, let bytes):
            self.endpoints[id]?.credit(bytes)
        case .data(let id, let data):
            self.metrics.bytesReceived.increment(by: Int64(data.readableBytes))
            self.endpoints[id]?.receive(data)
        case .finished(let id):
            self.endpoints[id]?.finished()
        case .ended(let id, let reason):
            self.metrics.ended(reason)
            let endpoint = self.endpoints.removeValue(forKey: id)
            self.noteIdleness()
            endpoint?.ended(reason)
        case .report(let report):
            self.metrics.reported(report)
            self.logger.debug("\(report.rawValue)", metadata: ["peer": "\(self.peer)"])
        }
    }

    private func noteIdleness() {
        if self.endpoints.isEmpty { self.idleSince = .now() }
    }

    private func armTimer() {
        guard let deadline = self.dialect.nextDeadline else {
            self.timer?.task.cancel()
            self.timer = nil
            return
        }
        if let timer = self.timer, timer.deadline <= deadline { return }
        self.timer?.task.cancel()
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let task = self.loop.scheduleTask(deadline: deadline) { bound.value.timerFired() }
        self.timer = (deadline, task)
    }

    private func timerFired() {
        self.timer = nil
        self.dialect.timeout(at: self.now)
        self.drain()
    }
}
