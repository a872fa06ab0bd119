//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A stream of a session: both of its halves, and the state of opening and closing it.
struct SessionStream: Sendable {
    /// The phase of a stream.
    enum Phase: Hashable, Sendable {
        /// Client: the stream was requested. Exit: data has arrived before the request.
        case requested
        /// Exit: connecting to the target.
        case dialling
        /// Data can be transferred.
        case open
        /// The stream was reset. Its state is kept until the peer acknowledges the RESET_STREAM of this endpoint.
        case reset
    }

    let id: StreamID
    var phase: Phase
    var send: SendStream
    var receive: ReceiveStream
    /// The reason with which the stream is reset once the peer has acknowledged all data.
    var endAfterDelivery: StreamEnd?
    /// The peer acknowledged the RESET_STREAM.
    var resetWasAcknowledged = false
    /// The peer sends no more data: all data up to its end was delivered, or the peer reset the stream.
    var peerIsDone = false
    /// Whether the driver still uses the stream.
    var isWithDriver: Bool
    /// Number of bytes that the stream last put into a packet. Streams that send little have priority.
    private(set) var lastTurn = 0
    /// Bytes that wait to be sent for the first time, and unused credit.
    private var bufferedBytes = 0
    /// When credit was last granted. The window is widened if credit is used up quickly.
    private var lastCredit: NIODeadline
    var lastActivity: NIODeadline
    let startedAt: NIODeadline

    init(id: StreamID, sendLimit: UInt64, window: Int, isWithDriver: Bool, now: NIODeadline) {
        self.id = id
        self.phase = .requested
        self.send = SendStream(limit: sendLimit)
        self.receive = ReceiveStream(window: window)
        self.isWithDriver = isWithDriver
        self.lastCredit = now
        self.lastActivity = now
        self.startedAt = now
    }

    /// Whether the stream is closed in both directions and its state can be removed.
    var isOver: Bool {
        switch self.phase {
        case .reset: self.resetWasAcknowledged && self.receive.finalSize != nil
        case .requested, .dialling, .open: self.peerIsDone && self.send.isComplete
        }
    }

    /// Whether the driver ended the stream and the peer has acknowledged all data, so that it can be reset now.
    var endsNow: StreamEnd? { self.send.isDelivered ? self.endAfterDelivery : nil }

    // MARK: Sending

    /// Gives the driver the credit that the budget allows after `sent` bytes left the buffer, or the first credit.
    mutating func grantCredit(
        sent: Int = 0,
        among streams: Int,
        _ budget: inout SendBudget,
        _ context: inout SessionContext
    ) {
        let granted = budget.renew(&self.bufferedBytes, sent: sent, among: streams)
        if granted > 0 { context.actions.append(.credit(self.id, granted)) }
    }

    /// Gives back the send buffer, because the stream sends no more.
    mutating func releaseBuffer(_ budget: inout SendBudget) { budget.release(&self.bufferedBytes) }

    /// The bytes that a stream put into a packet.
    struct Turn {
        /// By how many bytes ``SendStream/waitingBytes`` decreased.
        var bytes = 0
        /// Whether only the session's flow control keeps the stream from sending more.
        var isBlocked = false
        /// Whether the stream has more to send.
        var hasMore = false
    }

    /// Writes STREAM frames into a packet.
    ///
    /// - Parameters:
    ///   - packet: The packet.
    ///   - size: Maximum size of the packet in bytes.
    ///   - turn: Maximum number of bytes of this stream.
    ///   - frames: Receives the frames.
    ///   - credit: The session's send credit. It is used by new bytes only.
    ///   - budget: The send buffers of all streams.
    ///   - streams: Number of streams that are queued to send.
    ///   - context: The time. Receives the credit that the driver gets.
    mutating func write(
        into packet: inout ByteBuffer,
        size: Int,
        turn: Int,
        _ frames: inout [SessionFrame],
        credit: inout CreditLedger,
        budget: inout SendBudget,
        among streams: Int,
        _ context: inout SessionContext
    ) -> Turn {
        let waiting = self.send.waitingBytes
        var result = Turn()
        var taken = 0
        while taken < turn {
            let room = min(turn - taken, size - packet.readableBytes - SessionFrame.streamOverhead - 1)
            guard room > 0 else { break }
            let allowance = Int(min(UInt64(room), credit.allowance))
            let before = self.send.sentOffset
            guard let chunk = self.send.next(limit: room, allowance: allowance) else {
                result.isBlocked = allowance == 0 && self.send.allowance > 0
                break
            }
            let new = Int(self.send.sentOffset - before)
            credit.sent(new)
            if new > 0, self.isWithDriver {
                self.grantCredit(sent: new, among: streams, &budget, &context)
            }
            let frame = SessionFrame.stream(self.id, offset: chunk.offset, data: chunk.data, isFinal: chunk.isFinal)
            frame.encode(into: &packet)
            frames.append(frame)
            taken += chunk.data.readableBytes + 1
        }
        self.lastTurn = taken
        if taken > 0 { self.lastActivity = context.now.monotonic }
        result.bytes = waiting - self.send.waitingBytes
        result.hasMore = self.send.hasLost || self.send.allowance > 0 || self.send.hasUnsentEnd
        return result
    }

    /// Returns the control frame that replaces a lost one, with current values; nil if the peer no longer needs it.
    func repeated(_ frame: SessionFrame) -> SessionFrame? {
        switch frame {
        case .stopSending: self.receive.finalSize == nil ? frame : nil
        case .maximumStreamData:
            self.phase == .reset || self.receive.finalSize != nil
                ? nil : .maximumStreamData(self.id, self.receive.limit)
        case .openStream: self.phase == .requested ? frame : nil
        case .streamOpened: self.phase == .open ? frame : nil
        case .stream, .resetStream, .ping, .acknowledgement, .maximumData, .connectionClose, .immediateAcknowledgement,
            .crypto,
            .identity, .newPath, .newTicket, .duplicateKey, .newConnectionID, .retireConnectionID,
            .candidates:
            nil
        }
    }

    // MARK: Receiving

    /// Buffers received data. Returns by how many bytes the highest offset increased.
    mutating func insert(_ data: ByteBuffer, at offset: UInt64, isFinal: Bool) throws(SessionViolation) -> UInt64 {
        do {
            return try self.receive.insert(data, at: offset, isFinal: isFinal)
        } catch {
            throw SessionViolation()
        }
    }

    /// Delivers contiguous data to the driver. Drops it instead if the driver ended the stream.
    mutating func deliver(session: inout CreditLedger, _ context: inout SessionContext) {
        guard self.endAfterDelivery == nil else {
            session.consumed(self.receive.consumeAll())
            return
        }
        while let data = self.receive.next() { context.actions.append(.data(self.id, data)) }
        guard self.receive.takeEnd() else { return }
        self.peerIsDone = true
        context.actions.append(.finished(self.id))
    }

    /// Handles the peer's reset with its final size. Returns by how many bytes the highest offset increased.
    mutating func reset(at finalSize: UInt64) throws(SessionViolation) -> UInt64 {
        do {
            return try self.receive.reset(at: finalSize)
        } catch {
            throw SessionViolation()
        }
    }

    /// Records that the driver passed on delivered bytes.
    ///
    /// Gives the peer new credit after half of the window was consumed. A window that is used quickly is increased.
    mutating func consume(
        _ bytes: Int,
        rtt: TimeAmount,
        maximumWindow: Int,
        session: inout CreditLedger,
        _ context: inout SessionContext
    ) {
        let before = self.receive.consumed
        self.receive.consume(bytes)
        session.consumed(self.receive.consumed - before)
        self.lastActivity = context.now.monotonic
        guard self.receive.wantsCredit else { return }
        let window = self.receive.window
        let isFast = context.now.monotonic - self.lastCredit < .nanoseconds(4 * rtt.nanoseconds)
        // Small windows grow by a factor of 4. Doubling fills a path with a long RTT too slowly.
        let factor = window < maximumWindow / 8 ? 3 : 1
        let growth = min(factor * window, maximumWindow - window)
        if isFast, growth > 0, session.reserveGrowth(growth) { self.receive.widen(to: window + growth) }
        self.lastCredit = context.now.monotonic
        context.control.append(.maximumStreamData(self.id, self.receive.renewCredit()))
    }

    /// Widens the receive window of a stream that has received nothing. Returns the new limit.
    mutating func widen(to window: Int) -> UInt64 {
        self.receive.widen(to: window)
        return self.receive.renewCredit()
    }

    // MARK: End

    /// Drops the data of both directions. Returns the number of received bytes that were not consumed.
    mutating func reset() -> UInt64 {
        self.phase = .reset
        self.send.discard()
        return self.receive.consumeAll()
    }

    /// What to do when the timer of a stream is due.
    enum Verdict: Hashable, Sendable {
        case end(StreamEnd)
        case wait(until: NIODeadline)
    }

    /// Returns whether the stream has been idle or unanswered for too long; nil if it needs no timer.
    func verdict(
        _ reachability: Reachability,
        _ configuration: SessionConfiguration,
        at now: NIODeadline
    ) -> Verdict? {
        switch self.phase {
        case .requested:
            let waited = now - self.startedAt
            if waited >= configuration.openTimeout || reachability == .peerIsAbsent { return .end(.exitSilent) }
            if waited >= configuration.relayTimeout, reachability == .noRelay { return .end(.noRelay) }
            return .wait(until: min(now + .seconds(1), self.startedAt + configuration.openTimeout))
        case .open, .dialling:
            guard let timeout = configuration.streamIdleTimeout else { return nil }
            let due = self.lastActivity + timeout
            return due <= now ? .end(.idle) : .wait(until: due)
        case .reset:
            return nil
        }
    }
}
