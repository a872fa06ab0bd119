//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// A connection from an exit to an entry that carries one stream (CONNECTR), compatible with the reference
/// implementation.
///
/// The exit sends the 36 characters of the stream's UUID, and the entry answers with one byte. All further bytes belong
/// to the stream. The entry accepts only an exit that knows the UUID. The connection is not encrypted.
final class ReverseStream: ChannelInboundHandler, StreamCarrier {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Role {
        /// The exit opens the connection and sends the UUID `key`. `onReady` is called when the entry has accepted the
        /// connection.
        case exit(key: String, onReady: (ReverseStream) -> Void)
        /// The entry accepts the connection. `endpoint` returns the endpoint of the stream with the received UUID, or
        /// nil to close the connection.
        case entry(endpoint: (String, ReverseStream) -> (any StreamEndpoint)?)
    }

    /// The ID of the only stream.
    static let stream = StreamID(rawValue: 1)
    private static let keyLength = 36
    private static let acceptance: UInt8 = 1
    /// Maximum number of buffered bytes in each direction. A single read may exceed it.
    private static let buffer = 256 << 10
    /// How long to wait for the greeting of the other side.
    private static let greetingTimeout: TimeAmount = .seconds(10)

    private let role: Role
    private let idleTimeout: TimeAmount
    /// Called when the connection has closed.
    var onClose: () -> Void = {}

    private var context: ChannelHandlerContext?
    private var endpoint: (any StreamEndpoint)?
    private var halfClose = HalfClose()
    private var greeting = ByteBuffer()
    private var isReady = false
    private var timer: Scheduled<Void>?
    private var lastActivity = NIODeadline.now()
    private var unconsumed = 0
    private var isReading = false
    private var pendingWrites = 0
    /// Whether the endpoint has reset the stream. The connection then closes when all bytes are written.
    private var closesWhenFlushed = false

    /// - Parameter idleTimeout: How long no data may be transferred in either direction before the stream ends.
    init(_ role: Role, idleTimeout: TimeAmount) {
        self.role = role
        self.idleTimeout = idleTimeout
    }

    // MARK: Socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.begin(context) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        self.begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard self.timer == nil else { return }
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: Self.greetingTimeout) { channel.close(promise: nil) }
        if case .exit(let key, _) = self.role {
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: key)), promise: nil)
        }
        self.read()
    }

    private func read() {
        guard !self.isReading, !self.halfClose.isInputClosed, self.unconsumed < Self.buffer,
            let context = self.context
        else { return }
        self.isReading = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let data = Self.unwrapInboundIn(data)
        guard !self.isReady else { return self.deliver(data) }
        self.greeting.writeImmutableBuffer(data)
        self.readGreeting(context)
    }

    private func readGreeting(_ context: ChannelHandlerContext) {
        switch self.role {
        case .exit(_, let onReady):
            guard let byte = self.greeting.readInteger(as: UInt8.self) else { return }
            guard byte == Self.acceptance else { return context.close(promise: nil) }
            self.becomeReady()
            onReady(self)
        case .entry(let find):
            guard let key = self.greeting.readString(length: Self.keyLength) else { return }
            guard let endpoint = find(key.lowercased(), self) else { return context.close(promise: nil) }
            self.becomeReady()
            self.endpoint = endpoint
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: [Self.acceptance])), promise: nil)
            endpoint.opened()
            self.endpoint?.credit(Self.buffer)
        }
        // The first bytes of the stream may be in the same read.
        let rest = self.greeting
        self.greeting = ByteBuffer()
        if rest.readableBytes > 0 { self.deliver(rest) }
    }

    private func becomeReady() {
        self.isReady = true
        self.timer?.cancel()
        self.watchIdleness(for: self.idleTimeout)
    }

    private func watchIdleness(for wait: TimeAmount) {
        guard let context = self.context else { return }
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: wait) {
            guard !self.halfClose.isStreamOver else { return }
            let left = self.lastActivity + self.idleTimeout - NIODeadline.now()
            if left > .zero {
                self.watchIdleness(for: left)
            } else {
                self.end(.idle)
                self.context?.close(promise: nil)
            }
        }
    }

    private func deliver(_ data: ByteBuffer) {
        guard !self.halfClose.isStreamOver, let endpoint else { return }
        self.lastActivity = .now()
        self.unconsumed += data.readableBytes
        endpoint.receive(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.read()
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent, self.halfClose.inputEnded() {
            if self.isReady { self.endpoint?.finished() } else { context.close(promise: nil) }
            self.endIfComplete()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.end(self.halfClose.isOutputClosed ? nil : .connectionReset)
        self.onClose()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.end(.connectionReset)
        context.close(promise: nil)
    }

    private func endIfComplete() {
        guard self.halfClose.isInputClosed, self.halfClose.isOutputClosed else { return }
        self.end(nil)
        self.context?.close(promise: nil)
    }

    private func end(_ reason: StreamEnd?) {
        guard self.halfClose.streamEnded() else { return }
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.ended(reason)
    }

    // MARK: Stream

    /// Sets the endpoint of the stream.
    func setEndpoint(_ endpoint: any StreamEndpoint) { self.endpoint = endpoint }

    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        if self.endpoint != nil { self.endpoint = endpoint }
    }

    func connected(_ id: StreamID) { self.endpoint?.credit(Self.buffer) }

    func send(_ id: StreamID, _ data: ByteBuffer) {
        guard !self.halfClose.isStreamOver, let context = self.context else { return }
        let count = data.readableBytes
        self.pendingWrites += 1
        context.writeAndFlush(Self.wrapOutboundOut(data)).assumeIsolated().whenComplete { result in
            self.pendingWrites -= 1
            self.lastActivity = .now()
            if case .success = result { self.endpoint?.credit(count) }
            self.closeAfterReset()
            self.closeIfFlushed()
        }
    }

    func finish(_ id: StreamID) {
        self.halfClose.peerFinished()
        self.closeIfFlushed()
    }

    private func closeIfFlushed() {
        guard self.pendingWrites == 0, !self.halfClose.isStreamOver, let context = self.context,
            self.halfClose.flushed() == .closeOutput
        else { return }
        context.close(mode: .output, promise: nil)
        self.endIfComplete()
    }

    func reset(_ id: StreamID, _ reason: StreamEnd) {
        guard self.halfClose.streamEnded() else { return }
        self.endpoint = nil
        self.context?.channel.abort()
    }

    func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd) {
        guard self.halfClose.streamEnded() else { return }
        self.endpoint = nil
        self.closesWhenFlushed = true
        self.closeAfterReset()
    }

    private func closeAfterReset() {
        guard self.closesWhenFlushed, self.pendingWrites == 0 else { return }
        // Unlike an abort, a close lets the kernel send the bytes that it has queued.
        self.context?.close(promise: nil)
    }

    func consumed(_ id: StreamID, _ bytes: Int) {
        self.unconsumed -= bytes
        self.read()
    }
}
