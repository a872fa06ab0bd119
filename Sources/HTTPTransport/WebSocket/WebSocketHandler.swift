//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOWebSocket

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Handles the frames of a WebSocket connection, as client or server (RFC 6455).
///
/// It reassembles fragmented messages, answers pings and close frames, and sends pings to detect dead connections.
/// Callbacks run on the channel's event loop. `onClose` is called once; no callback runs after it.
final class WebSocketHandler: ChannelInboundHandler {
    typealias InboundIn = WebSocketFrame

    private enum State {
        /// Messages can be sent and received.
        case open
        /// A close frame was sent. The connection closes when the peer answers or the close timeout expires.
        case closing(WebSocketCloseReason)
        /// The connection has ended and `onClose` was called.
        case closed
    }

    private let configuration: WebSocketConfiguration
    private let isClient: Bool
    private let writer: WebSocketFrameWriter
    private let events: WebSocket.Events

    private var state = State.open
    private var context: ChannelHandlerContext?
    private var assembler: WebSocketAssembler
    private var heardSincePing = true
    /// Whether a pong was received.
    private(set) var hasAnsweredPing = false
    private var pinger: Scheduled<Void>?
    private var closeTimer: Scheduled<Void>?
    private var flushIsScheduled = false
    /// The frames of the current read: start time, number of frames, payload bytes, and what compressed ones became.
    private var burst: (startedAt: NIODeadline, frames: Int, bytes: Int, inflated: Int)?
    private var burstIsWaste = false
    /// Whether the previous burst was waste. Read buffers are then small.
    private var isSuspect = false
    private var hasRead = false
    private var pause: Scheduled<Void>?

    /// A burst of more than `tolerableFrames` frames with an average payload below `smallFrame` bytes counts as waste.
    /// Most Nostr messages are longer.
    private static let tolerableFrames = 256
    private static let smallFrame = 32
    /// A burst that became more than `tolerableText` bytes of text, and `tolerableExpansion` times what was received, counts as waste.
    private static let tolerableText = 64 << 10
    private static let tolerableExpansion = 16
    /// After a wasteful burst, reading pauses for `pauseFactor` times the processing time of the burst, but no longer
    /// than `longestPause`.
    private static let pauseFactor: Int64 = 4
    private static let longestPause: TimeAmount = .seconds(1)
    /// Size of read buffers in bytes after a wasteful burst.
    private static let readAfterWaste = 4 << 10
    /// Maximum payload of a burst in bytes that is acknowledged at once. See ``acknowledgeAtOnce(_:)``.
    private static let smallBurst = 4 << 10

    init(
        configuration: WebSocketConfiguration,
        isServer: Bool,
        deflate: DeflateExtension?,
        writer: WebSocketFrameWriter,
        events: WebSocket.Events
    ) {
        self.configuration = configuration
        self.isClient = !isServer
        self.assembler = WebSocketAssembler(
            isServer: isServer,
            maximumLength: configuration.maximumMessageLength,
            validatesUTF8: configuration.validatesUTF8,
            deflate: deflate
        )
        self.writer = writer
        self.events = events
    }

    // MARK: Sending

    /// Sends a text message.
    ///
    /// The message is written at once. One flush covers all messages sent in the same turn of the event loop.
    func sendText(_ text: WebSocketText, promise: EventLoopPromise<Void>? = nil) {
        guard case .open = self.state else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        self.writer.write(text, promise: promise)
        self.scheduleFlush()
    }

    /// Sends a text message, of which the base64 characters at `base64` are compressed if the peer takes that.
    func sendText(_ text: consuming ByteBuffer, compressing base64: Range<Int>) {
        guard case .open = self.state else { return }
        self.writer.write(text, compressing: base64)
        self.scheduleFlush()
    }

    /// Sends a binary message. Nostr does not use binary messages.
    func sendBinary(_ data: ByteBuffer) {
        guard case .open = self.state else { return }
        self.writer.write(.binary, [data])
        self.scheduleFlush()
    }

    /// Starts the closing handshake (RFC 6455, section 7.1.2). `onClose` will report `reason`.
    func close(code: WebSocketErrorCode, reason: WebSocketCloseReason = .closedLocally) {
        guard case .open = self.state, let context = self.context else { return }
        self.state = .closing(reason)
        self.sendClose(code)
        self.armCloseTimer(context)
    }

    private func scheduleFlush() {
        guard !self.flushIsScheduled, let context = self.context else { return }
        self.flushIsScheduled = true
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            self.writer.flush()
        }
    }

    private func sendClose(_ code: WebSocketErrorCode?) {
        var data = ByteBuffer()
        if let code { data.write(webSocketErrorCode: code) }
        self.writer.write(.connectionClose, [data])
        self.writer.flush()
    }

    private func armCloseTimer(_ context: ChannelHandlerContext) {
        let channel = context.channel
        self.closeTimer = context.eventLoop.scheduleTask(in: self.configuration.closeTimeout) {
            channel.close(promise: nil)
        }
    }

    // MARK: Lifecycle

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.armPinger(context)
    }

    private func armPinger(_ context: ChannelHandlerContext) {
        guard let interval = self.configuration.pingInterval else { return }
        self.pinger = context.eventLoop.assumeIsolated().scheduleTask(in: interval) { self.pingOrTimeOut() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.finish(.connectionLost("closed"))
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.finish(.connectionLost("closed without a close frame"))
        context.fireChannelInactive()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if case .open = self.state { self.events.onWritabilityChange(context.channel.isWritable) }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error as? NIOWebSocketError {
        case .invalidFrameLength:
            self.fail(context, code: .messageTooLarge, .messageTooLong)
        case .fragmentedControlFrame, .multiByteControlFrameLength:
            self.fail(context, code: .protocolError, .protocolViolation("malformed control frame"))
        case nil:
            self.finish(.connectionLost("\(error)"))
            context.close(promise: nil)
        }
    }

    /// Sends a ping.
    func ping() {
        guard case .open = self.state else { return }
        self.writer.write(.ping, [ByteBuffer()])
        self.writer.flush()
    }

    private func pingOrTimeOut() {
        guard case .open = self.state, let context = self.context else { return }
        guard self.heardSincePing else {
            self.finish(.timedOut)
            context.close(promise: nil)
            return
        }
        self.heardSincePing = false
        self.ping()
        self.armPinger(context)
    }

    private func finish(_ reason: WebSocketCloseReason) {
        let final: WebSocketCloseReason
        switch self.state {
        case .open: final = reason
        case .closing(let first): final = first
        case .closed: return
        }
        self.state = .closed
        self.pinger?.cancel()
        self.closeTimer?.cancel()
        self.pause?.cancel()
        self.events.onClose(final)
    }

    /// Closes the connection because the peer sent invalid data.
    private func fail(_ context: ChannelHandlerContext, code: WebSocketErrorCode, _ reason: WebSocketCloseReason) {
        guard case .open = self.state else { return }
        self.state = .closing(reason)
        self.sendClose(code)
        // Do not wait for the peer's close frame: the bytes that follow may not parse as frames.
        context.close(promise: nil)
    }

    // MARK: Receiving

    func channelReadComplete(context: ChannelHandlerContext) {
        self.endBurst(context)
        context.fireChannelReadComplete()
    }

    private func endBurst(_ context: ChannelHandlerContext) {
        if let burst {
            if case .closed = self.state {} else { self.events.onBurstEnd?() }
            let isSmall =
                burst.frames > Self.tolerableFrames && burst.bytes < burst.frames * Self.smallFrame
            let isExpanded =
                burst.inflated > Self.tolerableText && burst.inflated > burst.bytes * Self.tolerableExpansion
            let isWaste = self.burstIsWaste || isSmall || isExpanded
            self.readsLittle(context, isWaste)
            if isWaste { self.pauseReading(context, after: .now() - burst.startedAt) }
            if self.isClient, burst.bytes <= Self.smallBurst { self.acknowledgeAtOnce(context) }
        }
        self.burst = nil
        self.burstIsWaste = false
    }

    func noteWaste() { self.burstIsWaste = true }

    /// Uses small read buffers after a wasteful burst, and normal ones again after a burst that was not wasteful.
    ///
    /// Processing a small read delays other connections less.
    private func readsLittle(_ context: ChannelHandlerContext, _ isWaste: Bool) {
        guard isWaste != self.isSuspect else { return }
        self.isSuspect = isWaste
        let allocator: any RecvByteBufferAllocator =
            isWaste
            ? FixedSizeRecvByteBufferAllocator(capacity: Self.readAfterWaste) : WebSocketConfiguration.receiveAllocator
        try? context.channel.syncOptions?.setOption(.recvAllocator, value: allocator)
    }

    /// Acknowledges what was received, instead of after up to 40 ms.
    ///
    /// A relay that leaves Nagle's algorithm on sends the next small message only when the previous one is acknowledged
    /// (RFC 1122, section 4.2.3.4). The option holds until the kernel delays an acknowledgement again, so it is set after
    /// each burst. Large bursts are acknowledged without it.
    private func acknowledgeAtOnce(_ context: ChannelHandlerContext) {
        #if os(Linux)
        // A connection that is not TCP does not have the option.
        try? context.channel.syncOptions?.setOption(.tcpOption(.init(rawValue: TCP_QUICKACK)), value: 1)
        #endif
    }

    private func pauseReading(_ context: ChannelHandlerContext, after busy: TimeAmount) {
        guard case .open = self.state, self.pause == nil else { return }
        let channel = context.channel
        try? channel.syncOptions?.setOption(.autoRead, value: false)
        let length = min(.nanoseconds(busy.nanoseconds * Self.pauseFactor), Self.longestPause)
        self.pause = context.eventLoop.assumeIsolated().scheduleTask(in: length) {
            self.pause = nil
            try? channel.syncOptions?.setOption(.autoRead, value: true)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let frame = Self.unwrapInboundIn(data)
        self.heardSincePing = true
        if !self.hasRead {
            self.hasRead = true
            // Frames that arrive together with the HTTP upgrade are not followed by `channelReadComplete`, so their
            // burst is ended here.
            context.eventLoop.assumeIsolated().execute {
                if let context = self.context { self.endBurst(context) }
            }
        }
        if self.burst == nil { self.events.onBurstStart?() }
        if frame.opcode == .pong { self.hasAnsweredPing = true }
        let burst = self.burst ?? (.now(), 0, 0, 0)
        self.burst = (burst.startedAt, burst.frames + 1, burst.bytes + frame.length, burst.inflated)
        if case .closed = self.state { return }
        do {
            self.take(try self.assembler.receive(frame), context)
            self.burst?.inflated += self.assembler.inflatedBytes
        } catch {
            self.fail(context, code: error.code, error.reason)
        }
    }

    private func take(_ output: WebSocketAssembler.Output, _ context: ChannelHandlerContext) {
        switch output {
        case .nothing: break
        case .text(let message):
            guard case .open = self.state else { return }
            if let onText = self.events.onText { onText(message) } else { self.events.onMessage(message.parts[0]) }
        case .binary(let message):
            guard case .open = self.state else { return }
            if let onBinary = self.events.onBinary { onBinary(message) } else { self.events.onMessage(message) }
        case .ping(let payload):
            // Do not queue pongs for a peer that does not read.
            guard case .open = self.state, context.channel.isWritable else { return }
            self.writer.write(.pong, [payload])
            self.scheduleFlush()
        case .close(let code, let reason):
            if case .open = self.state {
                self.state = .closing(reason)
                self.sendClose(code)
            }
            context.close(promise: nil)
        }
    }
}
