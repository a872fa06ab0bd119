//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Transfers data between a socket and a stream in both directions, with half-close and bounded buffers.
///
/// It reads from the socket only while the stream has credit. It reports bytes as consumed when they are written to the
/// socket.
final class SpliceHandler: ChannelInboundHandler, RemovableChannelHandler, StreamEndpoint, EvictableStream {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Maximum time between the end of the service's data and the end of the client's, with TLS.
    private static let tlsEndTimeout: TimeAmount = .seconds(30)

    /// Maximum time without progress while the bytes that were received before an error are written to the socket, and
    /// while its peer acknowledges them.
    private static let flushTimeout: TimeAmount = .seconds(10)

    let startedAt = NIODeadline.now()
    private let carrier: any StreamCarrier
    private let id: StreamID
    private let side: Side
    private let throttles: [Throttle]
    private let onEnd: StreamEndHandler

    private var context: ChannelHandlerContext?
    private var halfClose = HalfClose()
    private var writes = WriteQueue()
    private var credit = 0
    private var isThrottled = false
    private var isReading = false
    /// Bytes that were received before the socket was connected.
    private var early = JoinedBuffers()
    private var tlsEnd: Scheduled<Void>?
    /// Whether the stream ended with an error. The connection is then aborted when all bytes are written.
    private var abortsWhenFlushed = false
    weak var failureHandler: (any SpliceFailureHandler)?
    private var sent = 0
    private var received = 0
    /// Number of bytes whose write has completed or failed.
    private var written = 0

    /// - Parameter throttles: Limits on the bytes per second of both directions together.
    init(
        carrier: any StreamCarrier,
        id: StreamID,
        side: Side,
        throttles: [Throttle] = [],
        onEnd: @escaping StreamEndHandler
    ) {
        self.carrier = carrier
        self.id = id
        self.side = side
        self.throttles = throttles
        self.onEnd = onEnd
    }

    // MARK: Socket to stream

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.becameActive() }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.becameActive()
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    private func becameActive() {
        guard !self.halfClose.isStreamOver else { return self.abort() }
        for data in self.early.removeAll() { self.write(data) }
        self.closeIfFlushed()
        self.read()
    }

    /// Sends bytes that were read from the socket before this handler was added.
    func unread(_ data: ByteBuffer, inputIsClosed: Bool) {
        if data.readableBytes > 0 {
            self.credit -= data.readableBytes
            self.sent += data.readableBytes
            self.carrier.send(self.id, data)
        }
        if inputIsClosed, self.halfClose.inputEnded() { self.carrier.finish(self.id) }
    }

    private func read() {
        guard self.credit > 0, !self.isThrottled, !self.isReading, !self.halfClose.isInputClosed,
            !self.halfClose.isStreamOver, let context = self.context, context.channel.isActive
        else { return }
        self.isReading = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let data = Self.unwrapInboundIn(data)
        guard !self.halfClose.isStreamOver else { return }
        self.credit -= data.readableBytes
        self.sent += data.readableBytes
        let wait = self.throttle(data.readableBytes)
        if wait > .zero {
            self.isThrottled = true
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            _ = context.eventLoop.scheduleTask(in: wait) {
                bound.value.isThrottled = false
                bound.value.read()
            }
        }
        self.carrier.send(self.id, data)
    }

    /// Counts bytes. Returns how long to wait before more bytes may be transferred.
    private func throttle(_ bytes: Int) -> TimeAmount {
        self.throttles.reduce(.zero) { max($0, $1.take(bytes)) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.read()
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent, self.halfClose.inputEnded() { self.carrier.finish(self.id) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if case .serviceBehindTLS = self.side { self.waitForClient(context) }
        self.socketClosed(isError: false)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.socketClosed(isError: true)
        context.close(promise: nil)
    }

    private func socketClosed(isError: Bool) {
        switch self.halfClose.socketClosed(isError: isError) {
        case .ignored, .complete: break
        case .finish: self.carrier.finish(self.id)
        case .broken:
            _ = self.early.removeAll()
            switch self.side {
            case .client: self.carrier.reset(self.id, self.side.breakReason)
            // Deliver what the service sent before, such as an error response, and then reset the stream.
            case .service, .serviceBehindTLS: self.carrier.resetAfterDelivery(self.id, self.side.breakReason)
            }
            self.onEnd(self.side.breakReason, self.sent, self.received)
        }
    }

    /// Called when the service and TLS have closed the connection. Data of the client is dropped until it ends its
    /// side.
    private func waitForClient(_ context: ChannelHandlerContext) {
        self.halfClose.discardOutput()
        guard !self.halfClose.isStreamOver else { return }
        let early = self.early.removeAll().reduce(0) { $0 + $1.readableBytes }
        let dropped = self.writes.discardGathered() + early
        if dropped > 0 { self.carrier.consumed(self.id, dropped) }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.tlsEnd = context.eventLoop.scheduleTask(in: Self.tlsEndTimeout) { bound.value.fail(.cancelled) }
    }

    // MARK: Stream to socket

    /// Whether the stream has ended.
    var isOver: Bool { self.halfClose.isStreamOver }

    /// Whether all bytes from the peer are written to the socket.
    var isFlushed: Bool { self.writes.isEmpty && self.early.isEmpty }

    var hasReceivedNothing: Bool { self.received == 0 }

    func evict() {
        self.fail(.tooManyStreams)
        self.abort()
    }

    /// Resets the stream with `reason` and reports its end.
    func fail(_ reason: StreamEnd) {
        guard self.halfClose.streamEnded() else { return }
        _ = self.early.removeAll()
        self.carrier.reset(self.id, reason)
        self.onEnd(reason, self.sent, self.received)
    }

    func opened() {}

    func credit(_ bytes: Int) {
        self.credit += bytes
        self.read()
    }

    func receive(_ data: ByteBuffer) {
        self.received += data.readableBytes
        if self.context?.channel.isActive == true {
            self.write(data)
        } else if self.halfClose.isOutputClosed {
            self.carrier.consumed(self.id, data.readableBytes)
        } else {
            self.early.append(data)
        }
    }

    private func write(_ data: ByteBuffer) {
        for buffer in self.writes.append(data) { self.writeNow(buffer) }
    }

    private func writeNow(_ data: ByteBuffer) {
        guard let context = self.context else { return }
        let count = data.readableBytes
        context.writeAndFlush(Self.wrapOutboundOut(data)).assumeIsolated().whenComplete { result in
            self.written += count
            if let next = self.writes.completeWrite() { self.writeNow(next) }
            self.wrote(count, result)
            self.closeIfFlushed()
        }
    }

    private func wrote(_ count: Int, _ result: Result<Void, any Error>) {
        guard !self.halfClose.isStreamOver else { return }
        switch result {
        case .success: self.consume(count)
        // Bytes that a normally closed socket did not accept are dropped.
        case .failure: if self.halfClose.isOutputClosed { self.carrier.consumed(self.id, count) }
        }
    }

    /// Reports bytes as consumed, immediately or when the throttles allow it.
    private func consume(_ count: Int) {
        let wait = self.throttle(count)
        guard wait > .zero, let context = self.context else { return self.carrier.consumed(self.id, count) }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        _ = context.eventLoop.scheduleTask(in: wait) {
            if !bound.value.halfClose.isStreamOver { bound.value.carrier.consumed(bound.value.id, count) }
        }
    }

    func finished() {
        self.halfClose.peerFinished()
        self.closeIfFlushed()
    }

    func ended(_ reason: StreamEnd?) {
        self.tlsEnd?.cancel()
        guard reason == nil ? self.halfClose.streamCompleted() : self.halfClose.streamEnded() else { return }
        self.onEnd(reason, self.sent, self.received)
        guard let reason else { return self.closeIfFlushed() }
        if let failureHandler, failureHandler.splice(self, didFail: reason) { return }
        self.abortWhenFlushed()
    }

    /// Aborts the connection when the bytes that the peer sent before the error are written.
    private func abortWhenFlushed() {
        self.abortsWhenFlushed = true
        self.closeIfFlushed()
        self.abortUnlessWritten(more: self.written)
    }

    /// Aborts after the timeout if the number of written bytes is still `written`.
    private func abortUnlessWritten(more written: Int) {
        guard self.abortsWhenFlushed, let context = self.context else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        _ = context.eventLoop.scheduleTask(in: Self.flushTimeout) {
            let splice = bound.value
            guard splice.abortsWhenFlushed else { return }
            if splice.written > written { splice.abortUnlessWritten(more: splice.written) } else { splice.abort() }
        }
    }

    private func abort() { self.context?.channel.abort() }

    /// Ends the stream after the sent bytes were delivered to the peer. The connection stays open for another handler.
    func detach() {
        guard self.halfClose.streamEnded() else { return }
        self.carrier.resetAfterDelivery(self.id, .cancelled)
        self.onEnd(nil, self.sent, self.received)
    }

    private func closeIfFlushed() {
        guard self.isFlushed, let context = self.context else { return }
        // If the socket is not connected yet, its output is closed after it is connected.
        guard context.channel.isActive || self.halfClose.isStreamOver else { return }
        if self.abortsWhenFlushed {
            self.abortsWhenFlushed = false
            return context.channel.abortWhenAcknowledged(timeout: Self.flushTimeout)
        }
        switch self.halfClose.flushed() {
        case .none: break
        case .closeOutput: context.close(mode: .output, promise: nil)
        case .close: context.close(promise: nil)
        }
    }
}
