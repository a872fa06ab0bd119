//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The streams of a session: how they open, send, receive and end, and the credit that they share.
struct StreamSet: Sendable {
    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    private(set) var table: StreamTable
    private(set) var scheduler = SendScheduler()
    private(set) var credit: CreditLedger
    private(set) var budget: SendBudget
    private var timers = TimerQueue<StreamID>()
    private var recent = RecentServices()
    /// The requests that the exit has not answered (client).
    private var requests: [StreamID: (request: StreamRequest, isReported: Bool)] = [:]

    init(role: SessionStateMachine.Role, configuration: SharedSessionConfiguration, peer: SessionParameters) {
        self.isExit = role == .exit
        self.shared = configuration
        self.table = StreamTable(role: role, configuration: configuration, peer: peer)
        self.credit = CreditLedger(sendLimit: peer.maximumData, configuration.value)
        self.budget = SendBudget(configuration.value)
    }

    /// Whether the stream exists and was not reset.
    func isUsable(_ id: StreamID) -> Bool { self.table[id].map { $0.phase != .reset } ?? false }

    private func isRequested(_ id: StreamID) -> Bool { self.table[id]?.phase == .requested }

    /// When ``timeout(_:_:)`` must be called; nil if no timer is set.
    var nextDeadline: NIODeadline? { self.timers.nextDeadline }

    // MARK: Opening

    /// Opens a stream (client). Returns false if the stream ended instead, because there are too many.
    ///
    /// - Parameter mayBeReported: Whether the stream may be reported as open at once because the exit has connected to
    ///   the service before.
    mutating func open(
        _ id: StreamID,
        _ request: StreamRequest,
        mayBeReported: Bool,
        _ context: inout SessionContext
    ) -> Bool {
        guard self.table.open(id, at: context.now.monotonic) else {
            context.actions.append(.ended(id, .tooManyStreams))
            return false
        }
        let isReported =
            self.configuration.opensAtOnce
            || (self.configuration.opensRecentAtOnce && mayBeReported
                && self.recent.contains(request, at: context.now.monotonic))
        self.requests[id] = (request, isReported)
        // The exit learns the wider window with the request.
        _ = self.widenFirst(id)
        context.control.append(.openStream(id, request))
        self.timers.schedule(id, at: context.now.monotonic + self.configuration.exitTimeout)
        if isReported {
            context.actions.append(.opened(id))
            self.grantFirstCredit(id, &context)
        }
        return true
    }

    private mutating func grantFirstCredit(_ id: StreamID, _ context: inout SessionContext) {
        let streams = self.table.liveCount
        self.table[id]?.grantCredit(among: streams, &self.budget, &context)
    }

    /// Widens the receive window of a stream that is being opened. Returns the new limit, or nil if there is no room.
    private mutating func widenFirst(_ id: StreamID) -> UInt64? {
        let window = min(self.configuration.openStreamWindow, self.configuration.maximumStreamWindow)
        guard self.table[id] != nil,
            self.credit.reserveFirstGrowth(window - self.configuration.initialStreamWindow)
        else { return nil }
        return self.table[id]?.widen(to: window)
    }

    /// The limit that the exit must learn together with the request; nil if it is the initial one.
    func limit(ofRequested id: StreamID) -> UInt64? {
        self.table[id].map(\.receive.limit).flatMap { $0 > UInt64(self.configuration.initialStreamWindow) ? $0 : nil }
    }

    /// Records that the first bytes of a new stream reached the exit with the offer (client).
    mutating func assumeSent(_ id: StreamID, _ bytes: Int) {
        if self.table[id]?.send.assumeSent(bytes) == true { self.credit.sent(bytes) }
    }

    /// Handles OPEN_STREAM (exit).
    mutating func received(
        open id: StreamID,
        _ request: StreamRequest,
        _ context: inout SessionContext
    ) throws(SessionViolation) {
        guard self.isExit else { throw SessionViolation() }
        guard try self.table.create(id, at: context.now.monotonic) else { return }
        guard self.table.join(id) else {
            context.actions.append(.report(.tooManyStreams))
            self.reset(id, .tooManyStreams, by: .session, &context)
            return
        }
        self.table[id]?.phase = .dialling
        context.actions.append(.incoming(id, request))
        self.table[id]?.deliver(session: &self.credit, &context)
        self.removeIfOver(id, &context)
    }

    /// Reports that the target is connected (exit).
    mutating func connected(_ id: StreamID, _ context: inout SessionContext) {
        guard self.table[id]?.phase == .dialling else { return }
        context.control.append(.streamOpened(id))
        self.credit.useFullWindow(of: self.configuration)
        if let limit = self.widenFirst(id) { context.control.append(.maximumStreamData(id, limit)) }
        self.becameOpen(id, hasCredit: false, &context)
    }

    /// Handles STREAM_OPENED, or the first bytes of a stream if they arrive before it (client).
    mutating func received(opened id: StreamID, _ context: inout SessionContext) {
        guard !self.isExit, self.isRequested(id) else { return }
        let known = self.requests.removeValue(forKey: id)
        if let known { self.recent.connected(known.request, at: context.now.monotonic) }
        let isReported = known?.isReported ?? false
        if !isReported { context.actions.append(.opened(id)) }
        self.becameOpen(id, hasCredit: isReported, &context)
    }

    /// Starts the idle timeout of an open stream, and gives the driver credit unless it already has it.
    private mutating func becameOpen(_ id: StreamID, hasCredit: Bool, _ context: inout SessionContext) {
        self.table[id]?.phase = .open
        self.table[id]?.lastActivity = context.now.monotonic
        self.timers.cancel(id)
        if let timeout = self.configuration.streamIdleTimeout {
            self.timers.schedule(id, at: context.now.monotonic + timeout)
        }
        if !hasCredit { self.grantFirstCredit(id, &context) }
    }

    // MARK: Sending

    /// What waits to be sent. If there is only one path, the room is not determined, because nothing depends on it.
    func demand(hasOnePath: Bool) -> SendDemand {
        guard !hasOnePath else { return SendDemand(bytes: self.scheduler.waitingBytes, room: .max) }
        let room = min(self.credit.allowance, self.scheduler.room(self.table))
        var bytes = self.scheduler.waitingBytes
        // A send buffer that fills up suggests that more data follows.
        if bytes >= self.configuration.sendBuffer / 2 { bytes = max(bytes, SendDemand.bulk) }
        return SendDemand(bytes: bytes, room: Int(clamping: room))
    }

    /// Queues bytes to be sent.
    mutating func send(_ id: StreamID, _ data: ByteBuffer, at now: NIODeadline) {
        guard self.isUsable(id), self.table[id]?.send.append(data) == true else { return }
        self.table[id]?.lastActivity = now
        self.scheduler.added(data.readableBytes)
        self.scheduler.add(id, self.table)
    }

    /// Finishes the sending direction.
    mutating func finish(_ id: StreamID) {
        guard let stream = self.table[id], stream.phase != .reset, !stream.send.isFinished else { return }
        self.table[id]?.send.finish()
        self.scheduler.add(id, self.table)
    }

    /// Handles MAX_DATA.
    mutating func received(maximumData limit: UInt64) {
        if self.credit.raiseSendLimit(to: limit) { self.scheduler.releaseBlocked() }
    }

    /// Handles MAX_STREAM_DATA.
    mutating func received(maximumStreamData limit: UInt64, of id: StreamID) {
        guard let known = self.table[id]?.send.limit, limit > known else { return }
        self.table[id]?.send.limit = limit
        if let stream = self.table[id], stream.send.allowance > 0 { self.scheduler.add(id, self.table) }
    }

    /// Writes STREAM frames of the streams whose turn it is into a packet of at most `size` bytes.
    mutating func write(
        into packet: inout ByteBuffer,
        size: Int,
        _ selection: SendScheduler.Selection,
        _ frames: inout [SessionFrame],
        _ context: inout SessionContext
    ) {
        self.scheduler.write(
            into: &packet,
            size: size,
            selection,
            &frames,
            &self.table,
            &self.credit,
            &self.budget,
            &context
        )
    }

    /// Handles the acknowledgement of a frame.
    mutating func acknowledged(_ frame: SessionFrame, _ context: inout SessionContext) {
        switch frame {
        case .stream(let id, let offset, let data, let isFinal):
            let range = offset..<(offset + UInt64(data.readableBytes))
            self.table[id]?.send.acknowledged(range, isFinal: isFinal)
            self.removeIfOver(id, &context)
            if let reason = self.table[id]?.endsNow { self.reset(id, reason, by: .session, &context) }
        case .resetStream(let id, _, _):
            self.table[id]?.resetWasAcknowledged = true
            self.removeIfOver(id, &context)
        case .ping, .acknowledgement, .stopSending, .maximumData, .maximumStreamData, .connectionClose,
            .immediateAcknowledgement, .openStream, .streamOpened, .crypto, .identity, .newPath, .newTicket,
            .duplicateKey, .newConnectionID, .retireConnectionID, .candidates:
            break
        }
    }

    /// Queues what a lost frame carried, with current values, if the peer still needs it.
    mutating func lost(_ frame: SessionFrame, _ context: inout SessionContext) {
        switch frame {
        case .stream(let id, let offset, let data, let isFinal):
            let chunk = SendStream.Chunk(offset: offset, data: data, isFinal: isFinal)
            self.scheduler.lost(chunk, of: id, in: &self.table)
        case .maximumData: context.control.append(.maximumData(self.credit.receiveLimit))
        case .resetStream(let id, _, _):
            // A stream that was reset before it was opened does not exist, but the peer waits for the answer.
            if self.table[id]?.resetWasAcknowledged != true { context.control.append(frame) }
        case .stopSending(let id, _), .maximumStreamData(let id, _), .openStream(let id, _), .streamOpened(let id):
            if let repeated = self.table[id].flatMap({ $0.repeated(frame) }) { context.control.append(repeated) }
        // An identity is sent with every repeated OPEN_STREAM frame.
        case .ping, .acknowledgement, .connectionClose, .immediateAcknowledgement, .crypto, .identity, .newPath,
            .newTicket, .duplicateKey, .newConnectionID, .retireConnectionID,
            .candidates:
            break
        }
    }

    // MARK: Receiving

    /// Handles STREAM. Returns false if the stream has ended.
    mutating func received(
        _ id: StreamID,
        offset: UInt64,
        _ data: ByteBuffer,
        isFinal: Bool,
        _ context: inout SessionContext
    ) throws(SessionViolation) -> Bool {
        guard try self.table.exists(id), let grown = try self.table[id]?.insert(data, at: offset, isFinal: isFinal)
        else { return false }
        try self.credit.received(grown)
        self.table[id]?.lastActivity = context.now.monotonic
        // Data may arrive before STREAM_OPENED.
        self.received(opened: id, &context)
        switch self.table[id]?.phase {
        case .reset: self.credit.consumed(self.table[id]?.receive.consumeAll() ?? 0)
        case .dialling, .open: self.table[id]?.deliver(session: &self.credit, &context)
        case .requested, nil: break
        }
        self.removeIfOver(id, &context)
        return true
    }

    /// Handles RESET_STREAM.
    mutating func received(
        reset id: StreamID,
        _ reason: StreamEnd,
        finalSize: UInt64,
        _ context: inout SessionContext
    ) throws(SessionViolation) {
        guard self.table[id] != nil else {
            // OPEN_STREAM did not arrive. The bytes still count against the session's limit, and the client waits for
            // a reset of the exit's direction.
            guard self.table.close(unopened: id) else { return }
            self.credit.skipped(min(finalSize, UInt64(self.configuration.initialStreamWindow)))
            if !context.control.isFull { context.control.append(.resetStream(id, code: reason.code, finalSize: 0)) }
            return
        }
        try self.credit.received(self.table[id]?.reset(at: finalSize) ?? 0)
        self.credit.consumed(self.table[id]?.receive.consumeAll() ?? 0)
        self.table[id]?.peerIsDone = true
        self.reset(id, reason, by: .peer, &context)
        self.removeIfOver(id, &context)
    }

    /// Records that the driver passed on delivered bytes.
    mutating func consumed(_ id: StreamID, _ bytes: Int, rtt: TimeAmount, _ context: inout SessionContext) {
        guard self.table[id]?.phase != .reset else { return }
        let maximum = self.configuration.maximumStreamWindow
        self.table[id]?.consume(bytes, rtt: rtt, maximumWindow: maximum, session: &self.credit, &context)
    }

    /// Gives the peer new session credit if it needs some.
    mutating func renewCredit(_ context: inout SessionContext) {
        if let limit = self.credit.renew() { context.control.append(.maximumData(limit)) }
    }

    // MARK: End

    /// Resets the stream once the peer has acknowledged all data. Data that the peer sends until then is dropped.
    mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, _ context: inout SessionContext) {
        guard let stream = self.table[id], stream.phase != .reset, stream.endAfterDelivery == nil else { return }
        guard stream.phase == .open, !stream.send.isDelivered else {
            self.reset(id, reason, by: .session, &context)
            return
        }
        self.table[id]?.endAfterDelivery = reason
        self.credit.consumed(self.table[id]?.receive.consumeAll() ?? 0)
    }

    /// Resets both directions of a stream.
    mutating func reset(
        _ id: StreamID,
        _ reason: StreamEnd,
        by resetter: StreamResetter,
        _ context: inout SessionContext
    ) {
        guard let stream = self.table[id], stream.phase != .reset else { return }
        if let failed = self.requests.removeValue(forKey: id), resetter != .driver {
            self.recent.failed(failed.request)
        }
        self.scheduler.dropped(stream.send.waitingBytes)
        self.scheduler.remove(id)
        self.table[id]?.releaseBuffer(&self.budget)
        self.credit.consumed(self.table[id]?.reset() ?? 0)
        context.control.append(.resetStream(id, code: reason.code, finalSize: stream.send.sentOffset))
        if resetter != .peer, stream.receive.finalSize == nil {
            context.control.append(.stopSending(id, code: reason.code))
        }
        if self.table.leave(id), resetter != .driver { context.actions.append(.ended(id, reason)) }
        self.timers.cancel(id)
        self.removeIfOver(id, &context)
    }

    /// Removes a stream if nothing is left to do for it.
    private mutating func removeIfOver(_ id: StreamID, _ context: inout SessionContext) {
        guard self.table[id]?.isOver == true else { return }
        self.requests[id] = nil
        if self.table.leave(id) { context.actions.append(.ended(id, nil)) }
        self.timers.cancel(id)
        guard var stream = self.table.remove(id) else { return }
        self.credit.consumed(stream.receive.consumeAll())
        self.credit.returnGrowth(stream.receive.window - self.configuration.initialStreamWindow)
        self.scheduler.dropped(stream.send.waitingBytes)
        self.scheduler.remove(id)
        stream.releaseBuffer(&self.budget)
    }

    /// Ends the streams that were idle for too long, and the requests that the exit has not answered.
    mutating func timeout(_ reachability: Reachability, _ context: inout SessionContext) {
        while let id = self.timers.popDue(context.now.monotonic) {
            switch self.table[id]?.verdict(reachability, self.configuration, at: context.now.monotonic) {
            case .end(let reason): self.reset(id, reason, by: .session, &context)
            case .wait(let deadline): self.timers.schedule(id, at: deadline)
            case nil: break
            }
        }
    }

    /// Ends all streams.
    mutating func endAll(_ reason: StreamEnd, _ context: inout SessionContext) {
        for id in self.table.identifiers where self.table.leave(id) { context.actions.append(.ended(id, reason)) }
        self.table.removeAll()
        self.scheduler = SendScheduler()
        self.budget = SendBudget(self.configuration)
    }
}
