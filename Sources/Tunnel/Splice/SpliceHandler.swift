//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOPosix
import TunnelProtocol

/// Joins a socket and a stream of a link, with half-closes both ways and without unbounded buffers.
///
/// Reads from the socket only while the stream has credit; tells the link when bytes from the peer were taken by the
/// kernel. The one place where a socket's world (read, write, inactive) meets a stream's (send, receive, ended).
final class SpliceHandler: ChannelInboundHandler, StreamEndpoint, EvictableStream {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let link: any StreamCarrier
    private let id: StreamID
    let startedAt = NIODeadline.now()
    /// Called when the socket and the stream are both over, with the bytes each way.
    private let onEnd: (StreamEnd?, _ sent: Int, _ received: Int) -> Void

    /// What bounds its bytes a second.
    var throttles: [Throttle] = []
    private var isThrottled = false
    /// How it is called when the socket breaks off: a service's is a failure, a client's need be none. Many close without
    /// reading the farewell of TLS behind their answer.
    var breakReason = StreamEnd.connectionReset
    /// Whether a socket that is gone without an error went in good order, whatever was still to come: TLS is over as soon
    /// as the client says so, and what it sends then tells it whether it has all.
    var endsInOrder = false
    private var farewell: Scheduled<Void>?
    /// How long a client may take then to end its side.
    private static let patienceAfterEnd: TimeAmount = .seconds(30)

    private var context: ChannelHandlerContext?
    private var creditLeft = 0
    private var readIsPending = false
    private var inputIsClosed = false
    /// Bytes that came before the socket was there.
    private var early: [ByteBuffer] = []
    private var pendingWrites = 0
    /// Small pieces that came while the socket was busy; a buffer for each would cost more than its bytes.
    private var gathered = ByteBuffer()
    private static let smallPiece = 4_096
    private static let gatheredLength = 64 << 10
    private var outputShouldClose = false
    private var outputIsClosed = false
    private var streamIsOver = false
    private var closeWhenFlushed = false
    private var sent = 0
    private var received = 0

    init(link: any StreamCarrier, id: StreamID, onEnd: @escaping (StreamEnd?, _ sent: Int, _ received: Int) -> Void) {
        self.link = link
        self.id = id
        self.onEnd = onEnd
    }

    // MARK: Socket to stream

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.becomeActive() }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.becomeActive()
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    private func becomeActive() {
        if self.streamIsOver {
            self.abort()
            return
        }
        let early = self.early
        self.early = []
        for data in early { self.write(data) }
        self.closeOutputIfDone()
        self.read()
    }

    /// Bytes that were read before this handler was there.
    func unread(_ data: ByteBuffer, inputIsClosed: Bool) {
        if data.readableBytes > 0 {
            self.creditLeft -= data.readableBytes
            self.sent += data.readableBytes
            self.link.send(self.id, data)
        }
        if inputIsClosed, !self.inputIsClosed {
            self.inputIsClosed = true
            self.link.finish(self.id)
        }
    }

    private func read() {
        guard self.creditLeft > 0, !self.isThrottled, !self.readIsPending, !self.inputIsClosed, !self.streamIsOver,
            let context = self.context, context.channel.isActive
        else { return }
        self.readIsPending = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let data = Self.unwrapInboundIn(data)
        guard !self.streamIsOver else { return }
        self.creditLeft -= data.readableBytes
        self.sent += data.readableBytes
        let wait = self.wait(for: data.readableBytes)
        if wait > .zero {
            self.isThrottled = true
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            _ = context.eventLoop.scheduleTask(in: wait) {
                bound.value.isThrottled = false
                bound.value.read()
            }
        }
        self.link.send(self.id, data)
    }

    private func wait(for bytes: Int) -> TimeAmount {
        self.throttles.reduce(.zero) { max($0, $1.take(bytes)) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.readIsPending = false
        self.read()
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent, !self.inputIsClosed {
            self.inputIsClosed = true
            if !self.streamIsOver { self.link.finish(self.id) }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        if self.endsInOrder { self.endInOrder(context) }
        self.socketEnded()
        context.fireChannelInactive()
    }

    /// The socket is gone and the stream goes on until its client says so, too; what still comes is let go.
    private func endInOrder(_ context: ChannelHandlerContext) {
        self.outputIsClosed = true
        guard !self.streamIsOver else { return }
        let waiting = self.gathered.readableBytes + self.early.reduce(0) { $0 + $1.readableBytes }
        self.gathered = ByteBuffer()
        self.early = []
        if waiting > 0 { self.link.consumed(self.id, waiting) }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.farewell = context.eventLoop.scheduleTask(in: Self.patienceAfterEnd) { bound.value.fail(.cancelled) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.outputIsClosed = false
        self.socketEnded()
        context.close(promise: nil)
    }

    private func socketEnded() {
        guard !self.streamIsOver else { return }
        if self.outputIsClosed {
            // Both directions were closed in good order, and the stream ends by itself once the peer has all. When the
            // socket's end comes after ours, NIO reports the one as the other.
            if !self.inputIsClosed {
                self.inputIsClosed = true
                self.link.finish(self.id)
            }
            return
        }
        self.streamIsOver = true
        self.link.reset(self.id, self.breakReason)
        self.onEnd(self.breakReason, self.sent, self.received)
    }

    // MARK: Stream to socket

    /// Whether the stream is over.
    var isOver: Bool { self.streamIsOver }

    /// Whether the peer has sent nothing so far.
    var isSilent: Bool { self.received == 0 }

    func evict() {
        self.fail(.tooManyStreams)
        self.abort()
    }

    /// There will be no socket: tells the peer why.
    func fail(_ reason: StreamEnd) {
        guard !self.streamIsOver else { return }
        self.streamIsOver = true
        self.early = []
        self.link.reset(self.id, reason)
        self.onEnd(reason, self.sent, self.received)
    }

    func opened() {}

    func credit(_ bytes: Int) {
        self.creditLeft += bytes
        self.read()
    }

    func receive(_ data: ByteBuffer) {
        self.received += data.readableBytes
        guard let context = self.context, context.channel.isActive else {
            if self.outputIsClosed {
                self.link.consumed(self.id, data.readableBytes)
                return
            }
            if let last = self.early.indices.last, data.readableBytes < Self.smallPiece,
                self.early[last].readableBytes < Self.gatheredLength
            {
                self.early[last].writeImmutableBuffer(data)
            } else {
                self.early.append(data)
            }
            return
        }
        if self.pendingWrites > 0, data.readableBytes < Self.smallPiece {
            self.gathered.writeImmutableBuffer(data)
            if self.gathered.readableBytes >= Self.gatheredLength { self.writeGathered() }
        } else {
            self.writeGathered()
            self.write(data)
        }
    }

    /// Gives credit for bytes that the socket took, at once or when the bound allows.
    private func consume(_ count: Int) {
        let wait = self.wait(for: count)
        guard wait > .zero, let context = self.context else {
            self.link.consumed(self.id, count)
            return
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        _ = context.eventLoop.scheduleTask(in: wait) {
            if !bound.value.streamIsOver { bound.value.link.consumed(bound.value.id, count) }
        }
    }

    private func writeGathered() {
        guard self.gathered.readableBytes > 0 else { return }
        let data = self.gathered
        self.gathered = ByteBuffer()
        self.write(data)
    }

    private func write(_ data: ByteBuffer) {
        guard let context = self.context else { return }
        let count = data.readableBytes
        self.pendingWrites += 1
        context.writeAndFlush(Self.wrapOutboundOut(data)).assumeIsolated().whenComplete { result in
            self.pendingWrites -= 1
            if self.pendingWrites == 0 { self.writeGathered() }
            if case .success = result, !self.streamIsOver { self.consume(count) }
            // What a socket that ended in order did not take is let go.
            if case .failure = result, !self.streamIsOver, self.outputIsClosed { self.link.consumed(self.id, count) }
            self.closeOutputIfDone()
        }
    }

    func finished() {
        self.outputShouldClose = true
        self.closeOutputIfDone()
    }

    func ended(_ reason: StreamEnd?) {
        self.farewell?.cancel()
        guard !self.streamIsOver else { return }
        self.streamIsOver = true
        self.onEnd(reason, self.sent, self.received)
        if reason != nil {
            self.early = []
            self.abort()
        } else {
            self.closeWhenFlushed = true
            self.closeOutputIfDone()
        }
    }

    private func abort() {
        self.context?.channel.abort()
    }

    /// Closes what is to be closed once everything is written: closing drops what is still queued.
    private func closeOutputIfDone() {
        guard self.pendingWrites == 0, self.gathered.readableBytes == 0, self.early.isEmpty, let context = self.context
        else { return }
        if self.closeWhenFlushed {
            context.close(promise: nil)
        } else if self.outputShouldClose, context.channel.isActive {
            self.outputShouldClose = false
            self.outputIsClosed = true
            context.close(mode: .output, promise: nil)
        }
    }
}
