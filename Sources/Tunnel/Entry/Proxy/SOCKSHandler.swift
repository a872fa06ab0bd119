//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import TunnelProtocol

/// Handles one SOCKS client (RFC 1928, or SOCKS4a): reads the handshake and the request, and opens the stream. When the
/// stream is open, a splice replaces this handler.
final class SOCKSHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Reading the handshake.
        case handshake
        /// The client was told that the stream is open, and the handler waits for its first bytes (optimistic).
        case gathering(ProxyRequest)
        /// The stream is being opened.
        case opening(StreamOpening)
        /// A splice has replaced this handler, or the connection is closed.
        case done
    }

    private let proxy: ProxyContext
    private var handshake: SOCKSHandshake
    private var state = State.handshake
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    /// Whether the client was told that the stream is open before the exit confirmed it (optimistic).
    private var hasReplied = false
    /// Bytes that the client sent after its request.
    private var earlyData = ByteBuffer()
    private var inputIsClosed = false

    /// - Parameter firstByte: The client's first byte, which contains the SOCKS version.
    init(firstByte: UInt8, proxy: ProxyContext) {
        self.proxy = proxy
        self.handshake = SOCKSHandshake(firstByte: firstByte, credentials: proxy.credentials)
    }

    // MARK: Socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.proxy.handshakeTimeout) {
            channel.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        switch self.state {
        case .done:
            return
        case .gathering(let request):
            self.earlyData.writeImmutableBuffer(bytes)
            self.open(request)
            return
        case .opening:
            // When the client half-closes its connection, NIO reads the remaining input. It belongs to the stream.
            self.earlyData.writeImmutableBuffer(bytes)
            return
        case .handshake:
            break
        }
        var action = self.handshake.receive(bytes)
        while case .reply(let bytes) = action {
            self.write(bytes)
            action = self.handshake.receive(ByteBuffer())
        }
        switch action {
        case .wait, .reply:
            break
        case .fail(let bytes, let failure):
            self.proxy.metrics.handshakeFailed(failure)
            self.proxy.logger.log(
                .info,
                "SOCKS handshake failed",
                ["reason": "\(failure.rawValue)"],
                topic: .handshakes
            )
            self.close(after: bytes)
        case .connect(let target, let credentials):
            let request = ProxyRequest(target, credentials: credentials)
            if self.proxy.isOptimistic { self.gather(request, context) } else { self.open(request) }
        }
    }

    /// Tells the client that the stream is open, and waits up to ``EntryConfiguration/earlyDataTimeout`` for its first
    /// bytes.
    private func gather(_ request: ProxyRequest, _ context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.hasReplied = true
        self.write(self.handshake.encoded(.succeeded))
        self.earlyData = self.handshake.takeLeftover()
        guard self.earlyData.readableBytes == 0 else {
            self.open(request)
            return
        }
        self.state = .gathering(request)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: EntryConfiguration.earlyDataTimeout) {
            if case .gathering(let request) = bound.value.state { bound.value.open(request) }
        }
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // While the stream is being opened, further data of the client stays in the kernel.
        if case .handshake = self.state { context.read() }
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            switch self.state {
            case .handshake: context.close(promise: nil)
            case .gathering(let request):
                self.inputIsClosed = true
                self.open(request)
            case .opening: self.inputIsClosed = true
            case .done: break
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.abandon()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.abandon()
        context.close(promise: nil)
    }

    private func abandon() {
        self.timer?.cancel()
        if case .opening(let opening) = self.state { opening.abandon() }
        self.state = .done
    }

    // MARK: Stream

    private func open(_ request: ProxyRequest) {
        self.timer?.cancel()
        let opening = StreamOpening(
            request,
            earlyData: self.hasReplied ? Array(self.earlyData.readableBytesView) : [],
            opener: self.proxy.opener,
            logger: self.proxy.logger,
            delegate: self
        )
        self.state = .opening(opening)
        opening.start()
    }

    // MARK: Writing

    private func write(_ bytes: [UInt8]) {
        self.context?.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    private func close(after bytes: [UInt8]) {
        self.state = .done
        guard let context = self.context else { return }
        let channel = context.channel
        guard !self.hasReplied else {
            // The client was told that the stream is open. Reset the connection, so that the error does not look like
            // the end of the data.
            channel.abort()
            return
        }
        guard !bytes.isEmpty else {
            channel.close(promise: nil)
            return
        }
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes))).whenComplete { _ in
            channel.close(promise: nil)
        }
    }
}

extension SOCKSHandler: StreamOpeningDelegate {
    func openingDidSucceed(_ opening: StreamOpening) {
        guard let context = self.context else { return }
        self.state = .done
        if !self.hasReplied { self.write(self.handshake.encoded(.succeeded)) }
        var leftover = self.handshake.takeLeftover()
        leftover.writeBuffer(&self.earlyData)
        // The exit has received the bytes that were sent with the offer.
        leftover.moveReaderIndex(forwardBy: min(opening.earlyBytes, leftover.readableBytes))
        opening.join(context, leftover: leftover, inputIsClosed: self.inputIsClosed)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) {
        self.close(after: self.handshake.encoded(failure.reply))
    }
}
