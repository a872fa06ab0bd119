//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore
package import NostrCrypto

/// A session: many streams over several relays. No relay has to keep order, deliver every packet or stay connected
/// (docs/PROTOCOL.md).
///
/// The state machine performs no I/O. Client and exit share the code; the client opens streams, and the exit connects
/// to targets. The design follows QUIC, with events as packets: packet numbers per path, acknowledgements, loss
/// detection by time, a congestion window per path, and credit per stream.
///
/// This type receives all inputs and passes each to the part that handles it: ``StreamSet`` or ``SessionTransport``.
/// Code that iterates over paths and streams uses a fixed order, so that a simulation with a seed is reproducible.
package struct SessionStateMachine: StreamEngine {
    package typealias Signal = SessionSignal
    package static let recognizesRepeatedMessages = true

    /// The side of the session.
    package enum Role: Hashable, Sendable {
        /// Opens streams.
        case client
        /// Connects to targets.
        case exit
    }

    private let role: Role
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    private(set) var transport: SessionTransport
    private(set) var streams: StreamSet
    private(set) var context: SessionContext
    /// The identity that the client sent (exit).
    private var clientIdentity: ClientIdentity?
    /// The client's report of another exit with the same key (exit).
    private var duplicateKey: DuplicateKeyReport?

    /// Whether the session has ended.
    package private(set) var isOver = false

    /// - Parameters:
    ///   - role: The side of the session.
    ///   - configuration: Limits and timeouts.
    ///   - peer: The peer's parameters from the handshake.
    ///   - identity: The client's identity, if the exit requires one (client).
    ///   - now: When the handshake completed.
    package init(
        role: Role,
        configuration: SessionConfiguration,
        peer: SessionParameters,
        identity: ClientIdentity? = nil,
        now: Moment
    ) {
        self.role = role
        let shared = SharedSessionConfiguration(configuration)
        self.shared = shared
        self.transport = SessionTransport(role: role, configuration: shared, peer: peer, now: now.monotonic)
        self.streams = StreamSet(role: role, configuration: shared, peer: peer)
        self.context = SessionContext(now: now, control: ControlQueue(identity: identity, configuration))
    }

    // MARK: State

    package var streamCount: Int { self.streams.table.liveCount }
    package var isIdle: Bool { self.streams.table.isEmpty }

    /// Whether every connected relay reported that the peer is not subscribed. False if no relay is connected.
    package var isDeserted: Bool { self.transport.paths.reachability == .peerIsAbsent }
    /// Whether the peer understands the frames of direct paths, and this node does.
    package var peerTakesDatagrams: Bool { self.transport.peerTakesDatagrams }
    /// When a packet of the peer was last received.
    package var lastHeard: NIODeadline { self.transport.lastHeard }
    /// Measurements of the active paths.
    package var pathStatus: [PathStatus] { self.transport.paths.status }
    /// Whether the peer's limit allows another stream. A stream that is opened above the limit ends immediately.
    package var hasRoomForStream: Bool { self.streams.table.hasRoom }
    /// Memory in bytes that received data uses: buffered data with its overhead, and delivered bytes not yet consumed.
    package var heldBytes: Int { self.streams.table.heldBytes }

    package mutating func nextAction() -> StreamAction<SessionSignal>? { self.context.actions.popFirst() }

    // MARK: Streams

    /// Opens a stream (client). The result is ``StreamAction/opened(_:)`` or ``StreamAction/ended(_:_:)``.
    ///
    /// - Parameter hasAlternative: Whether the caller will try another exit if this one fails. Then the stream is not
    ///   reported as open only because the exit has connected to the service before.
    package mutating func open(
        _ id: StreamID,
        _ request: StreamRequest,
        hasAlternative: Bool = false,
        at now: Moment
    ) {
        guard !self.isOver else {
            self.context.actions.append(.ended(id, .peerLost))
            return
        }
        self.context.now = now
        let mayBeReported = !hasAlternative && self.transport.paths.reachability == .reachable
        guard self.streams.open(id, request, mayBeReported: mayBeReported, &self.context) else { return }
        // The user waits, so find out soon whether an exit that does not answer still knows the session.
        self.transport.querySooner(at: now.monotonic)
        self.sendSoon()
    }

    /// Records that the first bytes of a new stream reached the exit with the offer (client).
    package mutating func assumeSent(_ id: StreamID, _ bytes: Int) { self.streams.assumeSent(id, bytes) }

    /// Handles the first request and data, which came with the client's offer (exit). Ignored if a stream exists already or
    /// the data exceeds the initial credit.
    package mutating func receiveEarly(_ request: StreamRequest, _ data: ByteBuffer, at now: Moment) {
        guard !self.isOver, self.role == .exit, self.streams.table.isUnused,
            data.readableBytes <= self.configuration.initialStreamWindow
        else { return }
        self.context.now = now
        let first = StreamID(rawValue: 1)
        self.closingOnViolation { machine throws(SessionViolation) in
            try machine.streams.received(open: first, request, &machine.context)
            _ = try machine.streams.received(first, offset: 0, data, isFinal: false, &machine.context)
        }
    }

    package mutating func connected(_ id: StreamID, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.connected(id, &self.context)
        // The first packet that measures a path should be small: behind the data of the stream, the path would seem slow.
        if self.transport.paths.hasMeasuredPath { self.sendSoon() } else { self.send() }
    }

    package mutating func send(_ id: StreamID, _ data: ByteBuffer, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.send(id, data, at: now.monotonic)
        // A transfer fills packets by itself, so waiting for other inputs would only cost time.
        if data.readableBytes > SendScheduler.smallMessage { self.send() } else { self.sendSoon() }
    }

    package mutating func finish(_ id: StreamID, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.finish(id)
        self.sendSoon()
    }

    package mutating func reset(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.reset(id, reason, by: .driver, &self.context)
        self.sendSoon()
    }

    package mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.resetAfterDelivery(id, reason, &self.context)
        self.sendSoon()
    }

    package mutating func consumed(_ id: StreamID, _ bytes: Int, at now: Moment) {
        guard self.streams.isUsable(id) else { return }
        self.context.now = now
        self.streams.consumed(id, bytes, rtt: self.transport.paths.shortestRTT, &self.context)
        self.streams.renewCredit(&self.context)
        if !self.context.control.isEmpty { self.sendSoon() }
    }

    // MARK: Paths

    package mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.transport.add(path, description, &self.streams, &self.context)
    }

    package mutating func removePath(_ path: PathID, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.transport.remove(path, &self.streams, &self.context)
    }

    /// Announces another relay to the client. The exit must already be subscribed there.
    package mutating func offerPath(_ offer: SessionPathOffer, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.context.control.append(.newPath(offer))
        self.send()
    }

    /// Sends the client a ticket (exit).
    package mutating func sendTicket(_ secret: Bytes32, lifetime: UInt64, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.context.control.append(.newTicket(secret, lifetime: lifetime))
        self.send()
    }

    /// Tells the exit that another exit has accepted the offer, too (client).
    package mutating func report(_ report: DuplicateKeyReport, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.context.control.append(.duplicateKey(report))
        self.send()
    }

    /// Sends the peer a frame about the direct path (``DirectPath/Action/frame(_:)``).
    package mutating func sendDirectFrame(_ frame: SessionFrame, at now: Moment) {
        guard !self.isOver, self.transport.peerTakesDatagrams else { return }
        self.context.now = now
        self.context.control.append(frame)
        self.send()
    }

    package mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment) {
        self.context.now = now
        self.transport.setWritable(path, isWritable, at: now.monotonic)
        if isWritable { self.send() }
    }

    package mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.transport.published(token, outcome, &self.streams, &self.context)
    }

    /// Passes the message that ``SessionSignal/makeKey(generation:)`` or ``SessionSignal/answerKey(_:)`` asked for.
    package mutating func keyPrepared(_ message: KeyUpdate, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.transport.keyPrepared(message, &self.context)
        self.send()
    }

    /// Sends the client's identity of a new generation (client).
    package mutating func renew(_ identity: ClientIdentity, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.context.control.renew(identity)
        self.send()
    }

    // MARK: Receiving

    package mutating func receive(
        _ plaintext: ByteBuffer,
        createdAt: Int64,
        generation: Int,
        path: PathID,
        at now: Moment
    ) {
        self.handle(generation: generation, path: path, at: now) { (machine) throws(PacketRejection) in
            try SessionPacket(plaintext, receiver: machine.role) { (header) throws(PacketRejection) in
                try machine.transport.paths.check(header, on: path)
            }
        }
        self.send()
    }

    /// Receives packets that came in datagrams, and answers them together.
    ///
    /// - Parameters:
    ///   - datagrams: The datagrams, opened.
    ///   - now: The current time.
    package mutating func receive(_ datagrams: [DatagramSealer.Opened], at now: Moment) {
        for datagram in datagrams {
            self.handle(generation: datagram.generation, path: .direct, at: now) {
                (machine) throws(PacketRejection) in
                try SessionPacket(datagram: datagram.plaintext, number: datagram.number) {
                    (header) throws(PacketRejection) in
                    try machine.transport.paths.check(header, on: .direct)
                }
            }
        }
        self.send()
    }

    /// Handles a packet without sending what it causes.
    private mutating func handle(
        generation: Int,
        path: PathID,
        at now: Moment,
        decode: (Self) throws(PacketRejection) -> SessionPacket
    ) {
        guard !self.isOver else { return }
        self.context.now = now
        let packet: SessionPacket
        do throws(PacketRejection) {
            packet = try decode(self)
            guard !packet.containsData(where: { self.streams.table.isUnopened($0) }) else { throw .unopenedStream }
            try self.transport.received(packet, generation: generation, path: path, &self.context)
        } catch {
            self.context.actions.append(.report(error.report))
            if error == .malformedFrame { self.close(.protocolViolation, at: now) }
            return
        }
        self.closingOnViolation { machine throws(SessionViolation) in
            guard packet.acknowledgesEachPathOnce else { throw SessionViolation() }
            for frame in packet.frames where !machine.isOver { try machine.receive(frame, on: path) }
        }
        guard !self.isOver else { return }
        self.transport.scheduleAcknowledgement(of: packet, at: now.monotonic)
    }

    private mutating func receive(_ frame: SessionFrame, on path: PathID) throws(SessionViolation) {
        switch frame {
        case .ping, .immediateAcknowledgement: break
        case .acknowledgement(let acknowledgement):
            try self.transport.received(acknowledgement, on: path, &self.streams, &self.context)
        case .resetStream(let id, let code, let finalSize):
            try self.streams.received(reset: id, StreamEnd(code: code), finalSize: finalSize, &self.context)
        case .stopSending(let id, let code):
            self.streams.reset(id, StreamEnd(code: code), by: .peer, &self.context)
        case .stream(let id, let offset, let data, let isFinal):
            if try self.streams.received(id, offset: offset, data, isFinal: isFinal, &self.context) {
                self.transport.receivedData(at: self.context.now.monotonic)
            }
        case .maximumData(let limit): self.streams.received(maximumData: limit)
        case .maximumStreamData(let id, let limit): self.streams.received(maximumStreamData: limit, of: id)
        case .connectionClose(let code, _): self.end(code == 0 ? nil : StreamEnd(code: code))
        case .openStream(let id, let request): try self.streams.received(open: id, request, &self.context)
        case .streamOpened(let id):
            guard self.role == .client else { throw SessionViolation() }
            self.streams.received(opened: id, &self.context)
        case .crypto(let offset, let data): try self.transport.received(crypto: data, at: offset, &self.context)
        case .identity(let identity): try self.receive(identity)
        case .newTicket(let secret, let lifetime):
            guard self.role == .client else { throw SessionViolation() }
            self.context.actions.append(.signal(.ticket(secret, lifetime: lifetime)))
        case .duplicateKey(let report):
            guard self.role == .exit, self.duplicateKey == nil || self.duplicateKey == report else {
                throw SessionViolation()
            }
            if self.duplicateKey == nil { self.context.actions.append(.signal(.duplicateKey(report))) }
            self.duplicateKey = report
        case .newPath(let offer):
            guard self.role == .client else { throw SessionViolation() }
            // The driver decides whether to connect to the relay.
            self.context.actions.append(.signal(.pathOffered(offer)))
        case .newConnectionID, .retireConnectionID, .candidates:
            // A peer sends them only to a node that has declared that it understands them.
            guard self.configuration.usesDatagrams else { throw SessionViolation() }
            self.context.actions.append(.signal(.direct(frame)))
        }
    }

    /// Records the client's identity. A second key in the same generation is a protocol violation.
    private mutating func receive(_ identity: ClientIdentity) throws(SessionViolation) {
        guard self.role == .exit else { throw SessionViolation() }
        if let known = self.clientIdentity, identity.generation <= known.generation {
            // An older one was repeated because its acknowledgement arrived late. The client may have signed again.
            guard identity.publicKey == known.publicKey || identity.generation < known.generation else {
                throw SessionViolation()
            }
            return
        }
        self.clientIdentity = identity
        self.context.actions.append(.signal(.identified(identity)))
    }

    /// Ends the session if the peer violated the protocol.
    private mutating func closingOnViolation(_ body: (inout Self) throws(SessionViolation) -> Void) {
        do {
            try body(&self)
        } catch {
            self.context.actions.append(.report(.protocolViolation))
            self.close(.protocolViolation, at: self.context.now)
        }
    }

    // MARK: Time

    package var nextDeadline: NIODeadline? {
        self.isOver ? nil : self.transport.nextDeadline(self.streams, self.context)
    }

    package mutating func timeout(at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        if self.transport.isPeerLost(at: now.monotonic) {
            self.close(.peerLost, at: now)
        } else if self.transport.keysAreExpired(at: now.monotonic) {
            self.context.actions.append(.report(.protocolViolation))
            self.close(.protocolViolation, at: now)
        } else {
            self.transport.timeout(&self.streams, &self.context)
        }
    }

    /// Sends when the driver calls ``timeout(at:)``, which is due at once. The inputs that the driver has until then share a
    /// packet: the events of many connections often arrive together.
    private mutating func sendSoon() { self.transport.sendLater(at: self.context.now.monotonic) }

    private mutating func send() {
        if !self.isOver { self.transport.send(&self.streams, &self.context) }
    }

    // MARK: End

    /// Ends the session and tells the peer.
    package mutating func close(_ reason: StreamEnd?, at now: Moment) {
        guard !self.isOver else { return }
        self.context.now = now
        self.transport.sendClose(reason, &self.context)
        self.end(reason)
    }

    /// Ends all streams and the session. No packets are sent or processed afterwards.
    private mutating func end(_ reason: StreamEnd?) {
        self.isOver = true
        self.streams.endAll(reason ?? .connectionReset, &self.context)
        self.context.control.removeAll()
        self.context.actions.append(.signal(.closed(reason)))
    }
}
