//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The connection to one peer. Drives the protocol engine, encrypts and publishes its messages, and delivers received
/// bytes to the endpoints of the streams.
///
/// It runs on the same event loop as the relay connections and the sockets of its streams, so that the actions of the
/// engine are performed in their order.
final class PeerLink<Engine: StreamEngine>: StreamCarrier {
    let startedAt = NIODeadline.now()
    /// The correction of the clock, and for which second it was determined.
    private var clock: (second: Int64, correction: Int64) = (0, 0)
    /// Whether events are dated by this machine's clock, also if the relays' clocks differ.
    var datesByOwnClock = false
    /// The peer's first key. It identifies the link in log messages.
    let peer: PublicKey
    private(set) var sealer: MessageSealer
    private(set) var engine: Engine
    weak var delegate: (any PeerLinkDelegate<Engine>)?
    private let loop: any EventLoop
    private let metrics: TunnelMetrics
    private let logger: Logger

    private var relays: [PathID: RelayConnection] = [:]
    /// Sends a packet on the direct path. Returns false if the sockets cannot take more now. Nil without such a path.
    var sendDirectly: ((_ packet: ByteBuffer, _ number: UInt64) -> Bool)?
    private var endpoints: [StreamID: any StreamEndpoint] = [:]
    private var lastStream: UInt64 = 0
    private var isDraining = false
    private var isClosed = false
    /// Bytes of streams.
    private(set) var sentBytes = 0
    private(set) var receivedBytes = 0
    private var performedActions: UInt64 = 0
    /// Calls ``drainActions()``. The methods of ``StreamCarrier`` are called through the protocol, so they know the engine's type only at
    /// run time. The closure is made where the type is known, which makes each action cheaper.
    private var drain: () -> Void = {}
    /// Set in the initializer, because it refers to the link.
    private var timer: LinkTimer?
    /// The time since which there is no stream. Nil while there is one.
    private(set) var idleSince: NIODeadline? = .now()

    /// Number of bytes of a stream from which on further data is delivered separately, and maximum number of bytes of a piece that is
    /// joined with others: copying it costs less than another system call.
    private static var deliveredTogether: (most: Int, piece: Int) { (64 << 10, 16 << 10) }
    /// Minimum delay of the next timer after one that caused no action.
    private static var fruitlessPause: TimeAmount { .milliseconds(5) }

    init(
        sealer: MessageSealer,
        engine: Engine,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger
    ) {
        self.peer = sealer.peer
        self.sealer = sealer
        self.loop = loop
        self.engine = engine
        self.metrics = metrics
        self.logger = logger
        self.drain = { [unowned self] in self.drainActions() }
        self.timer = LinkTimer(loop: loop) { [weak self] in self?.timerFired() }
    }

    // MARK: State

    /// Byte counts and duration, for the log line at the link's end.
    var summary: Logger.Metadata {
        [
            "sent": "\(self.sentBytes)", "received": "\(self.receivedBytes)",
            "ms": "\((NIODeadline.now() - self.startedAt).nanoseconds / 1_000_000)",
        ]
    }

    /// Whether the peer has sent bytes of a stream.
    var hasReceivedData: Bool { self.receivedBytes > 0 }
    var streamCount: Int { self.engine.streamCount }
    /// Whether the link has no streams and no pending work, so that it can be discarded.
    var isIdle: Bool { self.engine.isIdle }

    // MARK: Engine

    /// Passes an input to the engine and performs the resulting actions.
    func update<Result>(_ input: (inout Engine, Moment) -> Result) -> Result {
        let result = input(&self.engine, .now)
        self.drain()
        return result
    }

    /// Changes the keys.
    func updateKeys<Result, Failure>(
        _ change: (inout MessageSealer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try change(&self.sealer)
    }

    /// Passes a decrypted message to the engine.
    func receive(_ message: MessageSealer.Message, path: PathID) {
        self.update {
            $0.receive(
                message.plaintext,
                createdAt: message.createdAt,
                generation: message.generation,
                path: path,
                at: $1
            )
        }
    }

    /// Decrypts an event. If that fails, counts the event as rejected and returns nil.
    func open(_ event: Event, recipient: PublicKey) -> MessageSealer.Message? {
        do throws(MessageSealer.OpeningError) {
            return try self.sealer.open(event, recipient: recipient)
        } catch {
            switch error {
            case .wrongAuthor: self.metrics.rejected(.wrongAuthor)
            case .undecryptable(let error):
                self.metrics.rejected(.undecryptable)
                self.logger.debug("event dropped", metadata: ["error": "\(error)", "peer": "\(self.peer)"])
            }
            return nil
        }
    }

    // MARK: Paths

    /// Adds a relay as a path, or updates the path after the relay has reconnected.
    func addPath(_ path: PathID, _ relay: RelayConnection) {
        self.relays[path] = relay
        self.update { $0.addPath(path, PathDescription(relay), at: $1) }
    }

    func removePath(_ path: PathID) {
        self.update { $0.removePath(path, at: $1) }
    }

    func setWritable(_ path: PathID, _ isWritable: Bool) {
        self.update { $0.setWritable(path, isWritable, at: $1) }
    }

    /// The relay of a path that was added.
    func relay(of path: PathID) -> RelayConnection? { self.relays[path] }

    // MARK: Streams

    /// Registers the endpoint of a new stream and returns the stream's ID. Call this method before the engine opens the
    /// stream, so that all of its actions reach the endpoint.
    func makeStream(_ endpoint: any StreamEndpoint) -> StreamID {
        self.lastStream += 1
        let id = StreamID(rawValue: self.lastStream)
        self.endpoints[id] = endpoint
        self.idleSince = nil
        return id
    }

    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        guard self.endpoints[id] != nil else { return }
        self.endpoints[id] = endpoint
    }

    func connected(_ id: StreamID) {
        self.update { $0.connected(id, at: $1) }
    }

    func send(_ id: StreamID, _ data: ByteBuffer) {
        self.metrics.bytesSent.increment(by: Int64(data.readableBytes))
        self.sentBytes += data.readableBytes
        self.update { $0.send(id, data, at: $1) }
    }

    func finish(_ id: StreamID) {
        self.update { $0.finish(id, at: $1) }
    }

    func reset(_ id: StreamID, _ reason: StreamEnd) {
        guard self.endpoints.removeValue(forKey: id) != nil else { return }
        self.metrics.ended(reason)
        self.engine.reset(id, reason, at: .now)
        self.noteIdleness()
        self.drain()
    }

    func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd) {
        guard self.endpoints[id] != nil else { return }
        self.endpoints[id] = AbandonedEndpoint()
        self.update { $0.resetAfterDelivery(id, reason, at: $1) }
    }

    func consumed(_ id: StreamID, _ bytes: Int) {
        self.update { $0.consumed(id, bytes, at: $1) }
    }

    // MARK: End

    /// Ends all streams and notifies the peer.
    ///
    /// - Parameter reason: Nil if no error occurred.
    func close(_ reason: StreamEnd?) {
        self.update { $0.close(reason, at: $1) }
        self.abandon()
    }

    /// Stops without notifying the peer.
    func abandon() {
        self.isClosed = true
        self.timer?.cancel()
        self.endpoints = [:]
        self.relays = [:]
        self.sendDirectly = nil
    }

    private func noteIdleness() {
        guard self.endpoints.isEmpty else { return }
        self.idleSince = .now()
        self.delegate?.linkDidBecomeIdle(self)
    }

    // MARK: Actions

    /// Performs the engine's actions. If an action leads to another input, the outermost call also performs the actions
    /// of that input.
    private func drainActions() {
        guard !self.isDraining else { return }
        self.isDraining = true
        // Data of one stream that several packets brought is delivered together, because each delivery is a system call.
        var pending: (id: StreamID, data: ByteBuffer)?
        func deliverPending() {
            guard let (id, data) = pending else { return }
            pending = nil
            self.deliver(data, to: id)
        }
        // An endpoint may cause further actions when it receives data.
        while true {
            while let action = self.engine.nextAction() {
                self.performedActions &+= 1
                guard case .data(let id, var data) = action else {
                    deliverPending()
                    self.perform(action)
                    continue
                }
                if pending?.id == id, data.readableBytes <= Self.deliveredTogether.piece,
                    (pending?.data.readableBytes ?? 0) < Self.deliveredTogether.most
                {
                    pending?.data.writeBuffer(&data)
                } else {
                    deliverPending()
                    pending = (id, data)
                }
            }
            guard pending != nil else { break }
            deliverPending()
        }
        self.isDraining = false
        self.armTimer()
    }

    private func perform(_ action: StreamAction<Engine.Signal>) {
        switch action {
        case .publish(let token, let plaintext, _, let paths, _, _) where paths.first == .direct:
            if let sendDirectly, !sendDirectly(plaintext, token.number) {
                self.engine.setWritable(.direct, false, at: .now)
            }
        case .publish(let token, let plaintext, let createdAt, let paths, let work, let compresses):
            let target = (paths: paths, compresses: compresses)
            self.publish(token, plaintext: plaintext, createdAt: createdAt, target, work: work)
        case .incoming(let id, let request):
            self.accept(id, request)
        case .opened(let id):
            self.metrics.streamsOpened.increment()
            self.endpoints[id]?.opened()
        case .credit(let id, let bytes):
            self.endpoints[id]?.credit(bytes)
        case .data(let id, let data): self.deliver(data, to: id)
        case .finished(let id):
            self.endpoints[id]?.finished()
        case .ended(let id, let reason):
            self.metrics.ended(reason)
            let endpoint = self.endpoints.removeValue(forKey: id)
            self.noteIdleness()
            endpoint?.ended(reason)
        case .signal(let signal):
            self.delegate?.link(self, didReceive: signal)
        case .report(let report):
            self.metrics.reported(report)
            self.logger.debug("\(report.rawValue)", metadata: ["peer": "\(self.peer)"])
        }
    }

    private func deliver(_ data: ByteBuffer, to id: StreamID) {
        self.metrics.bytesReceived.increment(by: Int64(data.readableBytes))
        self.receivedBytes += data.readableBytes
        self.endpoints[id]?.receive(data)
    }

    private func accept(_ id: StreamID, _ request: StreamRequest) {
        self.metrics.streamsOpened.increment()
        self.idleSince = nil
        switch self.delegate?.link(self, isAskedFor: request, as: id) ?? .refused(.shuttingDown) {
        case .accepted(let endpoint):
            self.endpoints[id] = endpoint
        case .refused(let reason):
            self.metrics.ended(reason)
            self.engine.reset(id, reason, at: .now)
            self.noteIdleness()
        }
    }

    /// Encrypts a message and publishes it. A proof of work is made on another thread.
    private func publish(
        _ token: MessageToken,
        plaintext: ByteBuffer,
        createdAt: Int64,
        _ target: (paths: [PathID], compresses: Bool),
        work: Int
    ) {
        let createdAt = createdAt + self.clockCorrection(at: createdAt)
        guard work > 0 else {
            do {
                var message = try self.sealer.seal(plaintext, createdAt: createdAt)
                self.publish(token, &message, target)
            } catch {
                self.cannotSeal(token, error)
            }
            return
        }
        let sealer = self.sealer
        let sealed = NIOThreadPool.singleton.runIfActive(eventLoop: self.loop) {
            try sealer.seal(plaintext, createdAt: createdAt, work: work)
        }
        sealed.assumeIsolated().whenComplete { [weak self] result in
            guard let self, !self.isClosed else { return }
            switch result {
            case .success(var message): self.publish(token, &message, target)
            case .failure(let error): self.cannotSeal(token, error)
            }
        }
    }

    /// Encryption fails only for lengths that no engine uses.
    private func cannotSeal(_ token: MessageToken, _ error: any Error) {
        self.logger.error("cannot encrypt a message", metadata: ["error": "\(error)"])
        self.update { $0.published(token, .rejected(.refused), at: $1) }
    }

    /// The date of an event, in seconds since 1970, by the median of the relays' clocks.
    var date: Int64 {
        let now = Moment.now.seconds
        return now + self.clockCorrection(at: now)
    }

    /// The seconds to add to the local time for the date of an event. It is determined once in a second.
    private func clockCorrection(at second: Int64) -> Int64 {
        guard !self.datesByOwnClock else { return 0 }
        if self.clock.second != second {
            self.clock = (second, RelayConnection.clockCorrection(of: self.relays.values))
        }
        return self.clock.correction
    }

    /// Publishes one event on every path. Reports the first acceptance, or the last failure if no relay accepts the
    /// event.
    private func publish(
        _ token: MessageToken,
        _ message: inout SealedEventMessage,
        _ target: (paths: [PathID], compresses: Bool)
    ) {
        let answers = PublishAnswers(count: target.paths.count) { [self] outcome in
            self.update { $0.published(token, outcome, at: $1) }
        }
        for (index, path) in target.paths.enumerated() {
            guard let relay = self.relays[path] else {
                answers.receive(.rejected(.unreachable))
                continue
            }
            func receive(_ result: PublishResult) {
                if result.rejectsUnknownAuthors { self.delegate?.link(self, wasRejectedBy: relay) }
                answers.receive(PublishOutcome(result, path: path))
            }
            if index == target.paths.count - 1 {
                message.publishLast(on: relay, compresses: target.compresses, completion: receive)
            } else {
                message.publish(on: relay, compresses: target.compresses, completion: receive)
            }
            if relay.isOpen, !relay.isWritable { self.engine.setWritable(path, false, at: .now) }
        }
    }

    // MARK: Time

    private func armTimer() {
        guard !self.isClosed, let deadline = self.engine.nextDeadline else {
            self.timer?.cancel()
            return
        }
        self.timer?.set(deadline)
    }

    private func timerFired() {
        let before = self.performedActions
        self.update { $0.timeout(at: $1) }
        // The deadline has passed, but the engine did nothing. Delay the timer, so that it does not block the loop.
        guard before == self.performedActions, let timer, let deadline = timer.deadline, deadline <= .now() else {
            return
        }
        timer.replace(by: .now() + Self.fruitlessPause)
    }
}
