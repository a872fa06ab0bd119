//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
public import NIOCore
import NostrCrypto

/// A session: many streams over several relays. No relay has to keep order, deliver every packet or stay connected
/// (docs/PROTOCOL.md).
///
/// The state machine performs no I/O. Client and exit share the code; the client opens streams, and the exit connects
/// to targets. The design follows QUIC, with events as packets: packet numbers per path, acknowledgements, loss
/// detection by time, a congestion window per path, and credit per stream.
///
/// Code that iterates over paths and streams uses a fixed order, so that a simulation with a seed is reproducible.
public struct SessionStateMachine: StreamEngine {
    public typealias Signal = SessionSignal
    public static let recognizesRepeatedMessages = true

    /// The side of the session.
    public enum Role: Hashable, Sendable {
        /// Opens streams.
        case client
        /// Connects to targets.
        case exit
    }

    let role: Role
    let configuration: SessionConfiguration

    /// The client's own identity for an exit that requires one (client), or the identity that the client sent (exit).
    var identity: ClientIdentity?
    /// Whether the exit has acknowledged the identity (client).
    var identityIsKnown = false

    // MARK: Paths

    /// The paths in ascending order of their identifiers.
    var paths: [SessionPath] = []

    // MARK: Streams

    var streams: [StreamID: SessionStream] = [:]
    /// Streams that have ended. Late frames do not open them again (exit).
    var closedStreams = IntervalSet()
    /// The largest identifier of a stream that was opened (client).
    var lastOpened: UInt64 = 0
    /// Number of streams that the driver uses. Only these count against the limit.
    var liveStreams = 0
    /// The peer's parameters from the handshake.
    let peer: SessionParameters
    /// Streams with something to send. `eager` comes first: streams that sent little in their last turn or have lost
    /// data. The streams in `queued` take turns.
    var eager: Deque<StreamID> = []
    var queued: Deque<StreamID> = []
    /// Streams that wait for the session's send credit.
    var blocked: Deque<StreamID> = []
    var control: Deque<SessionFrame> = []
    /// Number of stream bytes that wait to be sent.
    var queuedBytes = 0
    /// When the current wait for sending started, or nil if nothing waits.
    var queuedSince: NIODeadline?
    /// Whether ``pump(at:)`` must be called again without delay, for example because of its packet limit.
    var mustGoOn = false
    var streamTimers = TimerQueue<StreamID>()

    // MARK: Credit of the session

    var sentData: UInt64 = 0
    var sendLimit: UInt64
    var receivedData: UInt64 = 0
    var consumedData: UInt64 = 0
    var receiveLimit: UInt64
    /// Sum of the bytes by which the windows of all streams were increased.
    var windowGrowth = 0

    // MARK: Lifecycle

    var actions: Deque<StreamAction<SessionSignal>> = []
    var isClosed = false
    /// Whether a packet of the peer was received. A client starts with true, because it has the exit's acceptance.
    var isConfirmed: Bool
    var lastHeard: NIODeadline
    var lastKeepAlive: NIODeadline
    /// When stream data was last received.
    var lastData: NIODeadline?
    /// Since when this side waits for any packet from the peer, or nil if it does not wait.
    var unansweredSince: NIODeadline?
    var nextQuestion: NIODeadline?
    var lastQuestion: NIODeadline?
    var questions = 0

    // MARK: Keys

    /// The generation of the key that seals sent packets.
    var generation = 0
    /// The next generation while it is negotiated, with the keys of this side and of the peer.
    var pending: (generation: Int, key: PublicKey?, peer: PublicKey?)?
    var generationStarted: NIODeadline
    var generationBytes: UInt64 = 0
    /// The previous generation, and when its keys are erased.
    var overlap: (generation: Int, until: NIODeadline)?
    /// Whether acknowledgements are sent on all paths. Set when a probe times out; cleared by the next new
    /// acknowledgement.
    var acknowledgesEverywhere = false

    /// - Parameters:
    ///   - peer: The peer's parameters from the handshake.
    ///   - identity: The client's identity, if the exit requires one (client).
    ///   - now: When the handshake completed.
    public init(
        role: Role,
        configuration: SessionConfiguration,
        peer: SessionParameters,
        identity: ClientIdentity? = nil,
        now: Moment
    ) {
        self.role = role
        self.identity = identity
        self.isConfirmed = role == .client
        self.configuration = configuration
        self.sendLimit = peer.maximumData
        self.peer = peer
        self.receiveLimit = UInt64(configuration.sessionWindow)
        self.lastHeard = now.monotonic
        self.lastKeepAlive = now.monotonic
        self.generationStarted = now.monotonic
    }

    var isExit: Bool { self.role == .exit }

    public var streamCount: Int { self.liveStreams }

    public var isIdle: Bool { self.streams.isEmpty }

    /// Whether every connected relay reported that the peer is not subscribed. False if no relay is connected.
    public var isDeserted: Bool {
        let up = self.paths.filter { $0.health != .down }
        return !up.isEmpty && up.allSatisfy(\.isDeserted)
    }

    /// Measurements of the active paths.
    public var pathStatus: [PathStatus] {
        self.paths.filter { $0.health == .active }.map {
            PathStatus(
                path: $0.id,
                roundTrip: $0.rtt.latest == nil ? nil : $0.rtt.smoothed,
                sent: $0.nextNumber,
                lost: $0.lostPackets
            )
        }
    }

    /// Whether the peer's limit allows another stream. A stream that is opened above the limit ends immediately.
    public var hasRoomForStream: Bool { UInt64(self.liveStreams) < self.peer.maximumStreams }

    /// Memory in bytes that received data uses: buffered data with its overhead, and delivered bytes not yet consumed.
    public var heldBytes: Int { self.streams.values.reduce(0) { $0 + $1.receive.memory } }

    /// Whether the session has ended.
    public var isOver: Bool { self.isClosed }

    public mutating func nextAction() -> StreamAction<SessionSignal>? { self.actions.popFirst() }

    // MARK: Streams, from the driver

    /// Opens a stream (client). The result is ``StreamAction/opened(_:)`` or ``StreamAction/ended(_:_:)``.
    public mutating func open(_ id: StreamID, _ request: StreamRequest, at now: Moment) {
        guard !self.isClosed, UInt64(self.liveStreams) < self.peer.maximumStreams, id.rawValue > self.lastOpened else {
            self.actions.append(.ended(id, self.isClosed ? .peerLost : .tooManyStreams))
            return
        }
        self.lastOpened = id.rawValue
        self.streams[id] = self.makeStream(id, phase: .requested, at: now)
        self.liveStreams += 1
        self.control.append(.openStream(id, request))
        self.askSooner(at: now)
        self.streamTimers.schedule(id, at: now.monotonic + self.configuration.exitPatience)
        if self.configuration.opensAtOnce {
            // The request is not sent yet, so that the driver can add the first bytes to the same packet.
            self.queuedSince = now.monotonic
            self.actions.append(.opened(id))
            self.actions.append(.credit(id, self.configuration.sendBuffer))
            self.mustGoOn = true
            return
        }
        self.pump(at: now)
    }

    /// Records that the first bytes of a new stream reached the exit with the offer (client).
    public mutating func assumeSent(_ id: StreamID, _ bytes: Int) {
        guard let stream = self.streams[id], bytes > 0, UInt64(bytes) <= stream.send.limit else { return }
        self.streams[id]?.send.assumeSent(bytes)
        self.sentData += UInt64(bytes)
    }

    func makeStream(_ id: StreamID, phase: SessionStream.Phase, at now: Moment) -> SessionStream {
        SessionStream(
            id: id,
            phase: phase,
            sendLimit: self.peer.maximumStreamData,
            window: self.configuration.initialStreamWindow,
            now: now.monotonic
        )
    }

    public mutating func connected(_ id: StreamID, at now: Moment) {
        guard self.streams[id]?.phase == .dialling else { return }
        self.streams[id]?.phase = .open
        self.control.append(.streamOpened(id))
        self.becameOpen(id, at: now)
        self.pump(at: now)
    }

    /// Starts the idle timeout of an open stream, and gives the driver credit unless it already has it.
    mutating func becameOpen(_ id: StreamID, at now: Moment) {
        self.streamTimers.cancel(id)
        self.streams[id]?.lastActivity = now.monotonic
        defer {
            if self.isExit || !self.configuration.opensAtOnce {
                self.actions.append(.credit(id, self.configuration.sendBuffer))
            }
        }
        if let timeout = self.configuration.streamIdleTimeout {
            self.streamTimers.schedule(id, at: now.monotonic + timeout)
        }
    }

    public mutating func send(_ id: StreamID, _ data: ByteBuffer, at now: Moment) {
        guard let phase = self.streams[id]?.phase, phase != .reset, data.readableBytes > 0 else { return }
        self.streams[id]?.send.append(data)
        self.streams[id]?.lastActivity = now.monotonic
        self.queuedBytes += data.readableBytes
        self.enqueue(id, at: now)
        self.pump(at: now)
    }

    public mutating func finish(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id], stream.phase != .reset, !stream.send.isFinished else { return }
        self.streams[id]?.send.finish()
        self.enqueue(id, at: now)
        self.pump(at: now)
    }

    public mutating func reset(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard let stream = self.streams[id], stream.phase != .reset else { return }
        self.resetLocally(id, reason, tellDriver: false, stopsPeer: true)
        self.pump(at: now)
    }

    public mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard let stream = self.streams[id], stream.phase != .reset, stream.endAfterDelivery == nil else { return }
        if stream.phase == .open, !stream.send.isDelivered {
            self.streams[id]?.endAfterDelivery = reason
            self.consumedData += self.streams[id]?.receive.consumeAll() ?? 0
        } else {
            self.resetLocally(id, reason, tellDriver: true, stopsPeer: true)
        }
        self.pump(at: now)
    }

    /// Resets both directions of a stream. With `stopsPeer`, also sends STOP_SENDING if the peer may still send.
    mutating func resetLocally(_ id: StreamID, _ reason: StreamEnd, tellDriver: Bool, stopsPeer: Bool) {
        guard var stream = self.streams[id], stream.phase != .reset else { return }
        self.queuedBytes -= stream.send.waitingBytes
        stream.phase = .reset
        stream.send.discard()
        self.consumedData += stream.receive.consumeAll()
        self.control.append(.resetStream(id, code: reason.code, finalSize: stream.send.sentOffset))
        if stopsPeer, stream.receive.finalSize == nil {
            self.control.append(.stopSending(id, code: reason.code))
        }
        self.leaveDriver(&stream, reason, tell: tellDriver)
        self.streams[id] = stream
        self.streamTimers.cancel(id)
        self.removeIfOver(id)
    }

    private mutating func leaveDriver(_ stream: inout SessionStream, _ reason: StreamEnd?, tell: Bool) {
        guard stream.isWithDriver else { return }
        stream.isWithDriver = false
        self.liveStreams -= 1
        if tell { self.actions.append(.ended(stream.id, reason)) }
    }

    /// Removes a stream if nothing is left to do for it.
    mutating func removeIfOver(_ id: StreamID) {
        guard var stream = self.streams[id], stream.isOver else { return }
        self.leaveDriver(&stream, nil, tell: true)
        self.consumedData += stream.receive.consumeAll()
        self.queuedBytes -= stream.send.waitingBytes
        self.windowGrowth -= stream.receive.window - self.configuration.initialStreamWindow
        self.streams[id] = nil
        self.streamTimers.cancel(id)
        if self.isExit { _ = self.closedStreams.insert(id.rawValue) }
    }

    public mutating func consumed(_ id: StreamID, _ bytes: Int, at now: Moment) {
        guard self.streams[id]?.phase != .reset, let before = self.streams[id]?.receive.consumed else { return }
        self.streams[id]?.receive.consume(bytes)
        self.streams[id]?.lastActivity = now.monotonic
        let after = self.streams[id]?.receive.consumed ?? before
        self.consumedData += after - before
        self.renewCredit(of: id, at: now)
        self.pump(at: now)
    }

    /// Gives the peer new credit after half of the window was consumed. A window that is used quickly is increased.
    private mutating func renewCredit(of id: StreamID, at now: Moment) {
        if self.streams[id]?.receive.wantsCredit == true, let stream = self.streams[id] {
            let window = stream.receive.window
            let isFast = now.monotonic - stream.lastCredit < .nanoseconds(4 * self.fastestRTT.nanoseconds)
            // Small windows grow by a factor of 4. Doubling fills a path with a long RTT too slowly.
            let factor = window < self.configuration.maximumStreamWindow / 8 ? 3 : 1
            let growth = min(factor * window, self.configuration.maximumStreamWindow - window)
            if isFast, growth > 0, self.windowGrowth + growth <= self.configuration.windowBudget {
                self.windowGrowth += growth
                self.streams[id]?.receive.widen(to: window + growth)
            }
            self.streams[id]?.lastCredit = now.monotonic
            if let limit = self.streams[id]?.receive.renewCredit() {
                self.control.append(.maximumStreamData(id, limit))
            }
        }
    }

    /// Gives the peer new session credit. The steps are small compared to the window, because streams that are not
    /// read may hold much of it.
    mutating func renewSessionCredit() {
        let window = UInt64(self.configuration.sessionWindow)
        let step = min(window / 2, Self.creditStep)
        guard self.consumedData + window >= self.receiveLimit + step else { return }
        self.receiveLimit = self.consumedData + window
        self.control.append(.maximumData(self.receiveLimit))
    }

    /// Maximum step in bytes in which the peer gets new session credit.
    private static let creditStep: UInt64 = 4 << 20

    private var fastestRTT: TimeAmount {
        self.paths.filter { $0.health == .active }.map(\.rtt.smoothed).min() ?? self.configuration.initialRTT
    }

    // MARK: End

    /// Ends the session and tells the peer.
    public mutating func close(_ reason: StreamEnd?, at now: Moment) {
        guard !self.isClosed else { return }
        for index in self.paths.indices where self.paths[index].health != .down {
            self.sendClose(reason, on: index, at: now)
        }
        self.becomeClosed(reason)
    }

    /// Ends all streams and the session. No packets are sent or processed afterwards.
    mutating func becomeClosed(_ reason: StreamEnd?) {
        guard !self.isClosed else { return }
        self.isClosed = true
        for id in self.streams.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            guard var stream = self.streams[id] else { continue }
            self.leaveDriver(&stream, reason ?? .connectionReset, tell: true)
        }
        self.streams = [:]
        self.control = []
        self.eager = []
        self.queued = []
        self.blocked = []
        self.actions.append(.signal(.closed(reason)))
    }
}
