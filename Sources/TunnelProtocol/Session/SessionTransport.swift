//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

/// Sends and receives the packets of a session: selects paths, repeats what was lost, schedules key updates, and detects
/// that the peer is lost. Streams belong to ``StreamSet``.
struct SessionTransport: Sendable {
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    private(set) var paths: PathSet
    private var keys: KeySchedule
    private var crypto = CryptoStream()
    private var liveness: Liveness
    /// Whether the peer understands the frames of direct paths.
    let peerTakesDatagrams: Bool
    /// Whether a packet of the peer was received. A client starts with true, because it has the exit's acceptance.
    private var isConfirmed: Bool
    private var sender: PacketSender

    /// The bytes of packets in flight that are sent again at once on a faster path.
    private static let reinjectedAtOnce = SessionConfiguration.largestPacket

    /// - Parameters:
    ///   - role: The side of the session.
    ///   - configuration: Limits and timeouts.
    ///   - peer: The peer's parameters.
    ///   - now: When the handshake completed.
    init(
        role: SessionStateMachine.Role,
        configuration: SharedSessionConfiguration,
        peer: SessionParameters,
        now: NIODeadline
    ) {
        self.shared = configuration
        self.paths = PathSet(configuration, peerTakes: peer.maximumPacket, probesStandby: role == .client)
        self.peerTakesDatagrams = peer.takesDatagrams && configuration.value.usesDatagrams
        self.keys = KeySchedule(role: role, configuration: configuration, now: now)
        self.liveness = Liveness(role: role, configuration: configuration, now: now)
        self.isConfirmed = role == .client
        self.sender = PacketSender(role: role, configuration: configuration)
    }

    // MARK: Paths

    /// Adds a path, or updates it.
    mutating func add(
        _ path: PathID,
        _ description: PathDescription,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        guard let index = self.paths.add(path, description, at: context.now.monotonic) else { return }
        // An exit sends no probe before it has received a packet from the client.
        if self.isConfirmed {
            if self.configuration.opensAtOnce {
                // The first stream's packet may contain much data, and would measure the path as slower than it is.
                self.sendProbe(on: index, &streams, &context)
            } else {
                // The request of a stream may replace the probe, if it follows at once.
                self.paths.probeNow(index, at: context.now.monotonic)
            }
        }
        self.send(&streams, &context)
    }

    /// Stops using a path.
    mutating func remove(_ path: PathID, _ streams: inout StreamSet, _ context: inout SessionContext) {
        guard let frames = self.paths.remove(path, at: context.now.monotonic) else { return }
        self.repeatLost(frames, &streams, &context)
        self.send(&streams, &context)
    }

    mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: NIODeadline) {
        guard let index = self.paths.index(of: path) else { return }
        self.paths[index].setWritable(isWritable, at: now)
    }

    /// Handles the relay's answer to a packet.
    mutating func published(
        _ token: MessageToken,
        _ outcome: PublishOutcome,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        let now = context.now.monotonic
        guard let index = self.paths.index(of: token.path) else { return }
        self.repeatLost(self.paths.published(token.number, outcome, on: index, at: now), &streams, &context)
        switch outcome {
        case .accepted: return
        case .rejected(.rateLimited): context.actions.append(.report(.backedOff))
        case .rejected(.noSubscriber):
            // The peer may have restarted. It is then subscribed under its own key, not under the session's key.
            if !self.liveness.hasQuery || streams.table.hasRequests { self.querySooner(at: now) }
        case .rejected(.held), .rejected(.refused), .rejected(.unreachable), .lost: break
        }
        self.send(&streams, &context)
    }

    // MARK: Receiving

    /// Records a packet of the peer. Throws if it must be ignored.
    mutating func received(
        _ packet: SessionPacket,
        generation: Int,
        path: PathID,
        _ context: inout SessionContext
    ) throws(PacketRejection) {
        let now = context.now.monotonic
        let index = try self.paths.received(packet.header, on: path, at: now)
        self.liveness.heard(at: now)
        if !self.isConfirmed {
            self.isConfirmed = true
            self.paths.probeNow(at: now)
        }
        self.paths[index].heard(at: now)
        if let signal = self.keys.heard(generation, at: now) { context.actions.append(.signal(signal)) }
        self.keys.opened(packet.size)
    }

    /// Records that stream data was received.
    mutating func receivedData(at now: NIODeadline) { self.liveness.heardData(at: now) }

    /// Schedules the acknowledgement of a packet, after its frames were handled.
    mutating func scheduleAcknowledgement(of packet: SessionPacket, at now: NIODeadline) {
        let demand = packet.demand
        guard demand.isAckEliciting, let index = self.paths.index(of: packet.header.path) else { return }
        self.paths[index].received.wantAcknowledgement(
            within: self.configuration.acknowledgementDelay,
            threshold: self.configuration.acknowledgementThreshold,
            here: demand.isProbe,
            at: now
        )
        if demand.isImmediate { self.paths[index].received.hurry(at: now) }
    }

    /// Handles an ACK frame.
    mutating func received(
        _ acknowledgement: SessionFrame.Acknowledgement,
        on path: PathID,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) throws(SessionViolation) {
        // Without direct paths, the number of one is beyond its bound.
        guard acknowledgement.path != .direct || self.peerTakesDatagrams else { throw SessionViolation() }
        guard let news = try self.paths.acknowledged(acknowledgement, on: path, at: context.now.monotonic) else {
            return
        }
        for frame in news.arrived {
            if case .identity(let identity) = frame { context.control.identityWasAcknowledged(identity) }
            streams.acknowledged(frame, &context)
        }
        self.repeatLost(news.lost, &streams, &context)
    }

    /// Queues the frames of lost packets that are still needed, with current values.
    private mutating func repeatLost(
        _ frames: [SessionFrame],
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        for frame in frames {
            switch frame {
            case .crypto, .newPath, .newTicket, .duplicateKey, .newConnectionID, .retireConnectionID, .candidates:
                context.control.append(frame)
            case .identity(let identity) where identity.generation > 0:
                if context.control.isUnacknowledged(identity) { context.control.append(frame) }
            default: streams.lost(frame, &context)
            }
        }
    }

    // MARK: Keys

    /// Sends the message that the driver made for an update.
    mutating func keyPrepared(_ message: KeyUpdate, _ context: inout SessionContext) {
        guard self.keys.prepared(message) else { return }
        for frame in self.crypto.frames(of: message) { context.control.append(frame) }
    }

    /// Handles CRYPTO.
    mutating func received(
        crypto data: ByteBuffer,
        at offset: UInt64,
        _ context: inout SessionContext
    ) throws(SessionViolation) {
        for message in try self.crypto.receive(data, at: offset) {
            for signal in try self.keys.receive(message, at: context.now.monotonic) {
                context.actions.append(.signal(signal))
                // The exit uses the new keys when the client has shown that it has them.
                if case .sealUnder = signal { context.control.append(.ping) }
            }
        }
    }

    // MARK: Time

    /// If every connected relay reports that the exit is not subscribed, asks it sooner whether it has restarted (client).
    mutating func querySooner(at now: NIODeadline) {
        if self.paths.reachability == .peerIsAbsent { self.liveness.querySooner(at: now) }
    }

    /// When ``timeout(_:_:)`` must be called.
    func nextDeadline(_ streams: StreamSet, _ context: SessionContext) -> NIODeadline {
        var earliest = self.liveness.peerDeadline
        func consider(_ deadline: NIODeadline?) {
            if let deadline, deadline < earliest { earliest = deadline }
        }
        consider(self.paths.lossDeadline)
        let isIdle = Self.isIdle(streams, context)
        consider(self.paths.reinjectionDeadline(isIdle: isIdle, at: context.now.monotonic))
        consider(self.paths.acknowledgementDeadline)
        consider(self.sender.nextDeadline(self.paths, streams, context))
        if streams.table.liveCount > 0 { consider(self.keepAliveDeadline) }
        consider(self.liveness.queryDeadline)
        consider(self.keys.nextDeadline)
        consider(streams.nextDeadline)
        return earliest
    }

    private var keepAliveDeadline: NIODeadline {
        self.liveness.keepAliveDeadline(roundTrip: self.paths.shortestRTT)
    }

    /// Whether the client has not renewed the keys for too long (exit).
    func keysAreExpired(at now: NIODeadline) -> Bool { self.keys.isExpired(at: now) }

    /// When a packet of the peer was last received.
    var lastHeard: NIODeadline { self.liveness.lastHeard }

    /// Whether the peer has been silent for so long that the session ends.
    func isPeerLost(at now: NIODeadline) -> Bool { self.liveness.peerDeadline <= now }

    /// Performs what is due.
    mutating func timeout(_ streams: inout StreamSet, _ context: inout SessionContext) {
        let now = context.now.monotonic
        for index in self.paths.indices {
            if let due = self.paths[index].lossDeadline, due <= now {
                self.repeatLost(self.paths[index].detectLosses(at: now), &streams, &context)
            }
            self.paths.probeStandby(index, at: now)
            if let due = self.paths.probeDeadline(of: index), due <= now {
                self.repeatLost(self.paths.probeTimedOut(index, at: now), &streams, &context)
                if self.paths.isSilentDirectPath(index) { context.actions.append(.signal(.directPathIsSilent)) }
                self.sendProbe(on: index, &streams, &context)
            }
        }
        streams.timeout(self.paths.reachability(absentFor: self.configuration.exitTimeout, at: now), &context)
        if streams.table.liveCount > 0, self.keepAliveDeadline <= now {
            self.liveness.sentKeepAlive(at: now)
            self.sender.sendKeepAlive(&self.paths, &streams, &context)
            self.countSent(at: now)
        }
        if let due = self.liveness.queryDeadline, due <= now {
            // The interval stays short while a new stream waits.
            self.liveness.sentQuery(isUrgent: streams.table.hasRequests, at: now)
            if self.paths.reachability != .noRelay { context.actions.append(.signal(.askPeer)) }
        }
        for signal in self.keys.advance(at: now) { context.actions.append(.signal(signal)) }
        self.send(&streams, &context)
    }

    // MARK: Sending

    /// Lets the driver add more before the next packet is sent. ``timeout(_:_:)`` sends it without delay.
    mutating func sendLater(at now: NIODeadline) { self.sender.sendLater(at: now) }

    private mutating func sendProbe(on index: Int, _ streams: inout StreamSet, _ context: inout SessionContext) {
        self.sender.sendProbe(on: index, &self.paths, &streams, &context)
        self.countSent(at: context.now.monotonic)
    }

    /// Whether nothing waits that may be sent.
    private static func isIdle(_ streams: StreamSet, _ context: SessionContext) -> Bool {
        streams.scheduler.isEmpty && context.control.isEmpty
    }

    /// Sends what waits, as far as the paths allow.
    mutating func send(_ streams: inout StreamSet, _ context: inout SessionContext) {
        let isIdle = Self.isIdle(streams, context)
        var reinjected = 0
        while reinjected < Self.reinjectedAtOnce,
            let packet = self.paths.reinject(isIdle: isIdle, at: context.now.monotonic)
        {
            self.repeatLost(packet.frames, &streams, &context)
            reinjected += packet.size
        }
        self.sender.send(&self.paths, &streams, &context)
        if self.isConfirmed { self.paths.measureAll(at: context.now.monotonic) }
        self.countSent(at: context.now.monotonic)
    }

    /// Tells the peer on all paths that the session ends.
    mutating func sendClose(_ reason: StreamEnd?, _ context: inout SessionContext) {
        self.sender.sendClose(reason, &self.paths, &context)
        self.countSent(at: context.now.monotonic)
    }

    private mutating func countSent(at now: NIODeadline) {
        let sent = self.sender.takeSent()
        self.keys.sealed(sent.bytes, packets: sent.packets)
        if sent.isAckEliciting { self.liveness.sentEliciting(at: now) }
    }
}
