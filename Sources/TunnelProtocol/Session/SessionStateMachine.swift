//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
public import NIOCore
import NostrCrypto

/// A session: many streams over several relays, none of which has to keep order, deliver, or stay (docs/PROTOCOL.md).
///
/// Pure, and the same at both ends but for who opens streams and who connects targets. QUIC's ideas over events: packets
/// per path, acknowledgements, loss by time, a window per path, credit per stream.
///
/// What iterates over paths and streams does so in a fixed order, so that a simulation with a seed repeats exactly.
public struct SessionStateMachine: StreamEngine {
    public typealias Signal = SessionSignal
    public static let recognizesRepeatedMessages = true

    /// Which end this is.
    public enum Role: Hashable, Sendable {
        /// Opens streams.
        case client
        /// Connects targets.
        case exit
    }

    let role: Role
    let configuration: SessionConfiguration

    /// Who we are, for an exit that asked (client), or who the client said it is (exit).
    var identity: ClientIdentity?
    /// The exit has it.
    var identityIsKnown = false

    // MARK: Paths

    /// By identifier.
    var paths: [SessionPath] = []

    // MARK: Streams

    var streams: [StreamID: SessionStream] = [:]
    /// Streams that are over, so that what comes late for them opens nothing (exit).
    var closedStreams = IntervalSet()
    /// The highest stream that was opened (client).
    var lastOpened: UInt64 = 0
    /// Streams whose driver waits: those that count against the limit.
    var liveStreams = 0
    /// What the peer said in the handshake.
    let peer: SessionParameters
    /// Streams with something to send: those that send little, then the others in turn.
    var eager: Deque<StreamID> = []
    var queued: Deque<StreamID> = []
    /// Streams that wait for credit of the session.
    var blocked: Deque<StreamID> = []
    var control: Deque<SessionFrame> = []
    /// Bytes of streams that wait to be sent.
    var queuedBytes = 0
    /// Since when something waits.
    var queuedSince: NIODeadline?
    /// More packets could go out than one turn lets.
    var mustGoOn = false
    var streamTimers = TimerQueue<StreamID>()

    // MARK: Credit of the session

    var sentData: UInt64 = 0
    var sendLimit: UInt64
    var receivedData: UInt64 = 0
    var consumedData: UInt64 = 0
    var receiveLimit: UInt64
    /// What windows have grown together.
    var windowGrowth = 0

    // MARK: Life

    var actions: Deque<StreamAction<SessionSignal>> = []
    var isClosed = false
    /// A packet of the peer came. A client has the exit's acceptance to begin with.
    var isConfirmed: Bool
    var lastHeard: NIODeadline
    var lastKeepAlive: NIODeadline
    /// When bytes of a stream came last.
    var lastData: NIODeadline?
    /// When the oldest packet went out that the peer has not answered in any way.
    var unansweredSince: NIODeadline?
    var nextQuestion: NIODeadline?
    var lastQuestion: NIODeadline?
    var questions = 0

    // MARK: Keys

    /// The generation that this side seals under.
    var generation = 0
    /// The next one, while it is agreed on, and its key.
    var pending: (generation: Int, key: PublicKey?, peer: PublicKey?)?
    var generationStarted: NIODeadline
    var generationBytes: UInt64 = 0
    /// An old generation, and when its keys go.
    var overlap: (generation: Int, until: NIODeadline)?
    /// Lost packets are said on all paths until something is acknowledged.
    var acknowledgesEverywhere = false

    /// - Parameters:
    ///   - peer: What the peer allows.
    ///   - identity: Who we are, where the exit asks (client).
    ///   - now: When the handshake was done.
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

    /// Whether every connected relay says that the peer is not subscribed there.
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

    /// Whether the peer's limit allows one more stream. A stream that is opened all the same ends at once.
    public var hasRoomForStream: Bool { UInt64(self.liveStreams) < self.peer.maximumStreams }

    /// Bytes of the peer that are buffered here, or were delivered and not consumed.
    public var heldBytes: Int { self.streams.values.reduce(0) { $0 + $1.receive.memory } }

    /// Whether the session ended.
    public var isOver: Bool { self.isClosed }

    public mutating func nextAction() -> StreamAction<SessionSignal>? { self.actions.popFirst() }

    // MARK: Streams, from the driver

    /// Opens a stream (client). Answered by ``StreamAction/opened(_:)`` or ``StreamAction/ended(_:_:)``.
    public mutating func open(_ id: StreamID, _ request: StreamRequest, at now: Moment) {
        guard !self.isClosed, UInt64(self.liveStreams) < self.peer.maximumStreams, id.rawValue > self.lastOpened else {
            self.actions.append(.ended(id, self.isClosed ? .peerLost : .tooManyStreams))
            return
        }
        self.lastOpened = id.rawValue
        var stream = self.makeStream(id, phase: .requested, at: now)
        stream.request = request
        self.streams[id] = stream
        self.liveStreams += 1
        self.control.append(.openStream(id, request))
        self.askSooner(at: now)
        self.streamTimers.schedule(id, at: now.monotonic + self.configuration.exitPatience)
        if self.configuration.opensAtOnce {
            // Not sent before the driver had its say: first bytes go with the request.
            self.queuedSince = now.monotonic
            self.actions.append(.opened(id))
            self.actions.append(.credit(id, self.configuration.sendBuffer))
            self.mustGoOn = true
            return
        }
        self.pump(at: now)
    }

    /// The first bytes of a stream that was just opened reached the exit with the offer (client).
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

    /// Bytes may flow from the driver.
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

    /// Ends a stream both ways from here.
    mutating func resetLocally(_ id: StreamID, _ reason: StreamEnd, tellDriver: Bool, stopsPeer: Bool) {
        guard var stream = self.streams[id], stream.phase != .reset else { return }
        self.queuedBytes -= stream.send.waitingBytes
        stream.phase = .reset
        stream.end = reason
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

    /// Forgets a stream of which nothing is left to do.
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

    /// Tells the peer of new credit, once half of it was used; a stream that moves fast gets more.
    private mutating func renewCredit(of id: StreamID, at now: Moment) {
        if self.streams[id]?.receive.wantsCredit == true, let stream = self.streams[id] {
            let window = stream.receive.window
            let isFast = now.monotonic - stream.lastCredit < .nanoseconds(4 * self.fastestRTT.nanoseconds)
            // Fourfold at first: to fill a path with a long round trip takes many of them otherwise.
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

    /// Credit of the session, in steps that are small beside the window: readers that stop keep much of it.
    mutating func renewSessionCredit() {
        let window = UInt64(self.configuration.sessionWindow)
        let step = min(window / 2, Self.creditStep)
        guard self.consumedData + window >= self.receiveLimit + step else { return }
        self.receiveLimit = self.consumedData + window
        self.control.append(.maximumData(self.receiveLimit))
    }

    /// Bytes after which the peer gets new credit of the session.
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

    /// Ends all streams; nothing comes after.
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
