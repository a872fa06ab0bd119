//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// A connection from an exit to an entry that carries one stream as it is, as the reference has it (CONNECTR): the exit
/// writes the 36 characters of the stream's UUID, the entry answers with one byte, and the rest are the stream's bytes.
/// Nobody but who knows the UUID is let in; nothing is encrypted.
final class ReverseStream: ChannelInboundHandler, StreamCarrier {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Role {
        /// Dialled; says which stream it is. The closure is called when the entry knows it.
        case exit(key: String, onReady: (ReverseStream) -> Void)
        /// Was dialled; asks whose stream it is.
        case entry(endpoint: (String, ReverseStream) -> (any StreamEndpoint)?)
    }

    /// Its only stream.
    static let stream = StreamID(rawValue: 1)
    static let keyLength = 36
    static let acceptance: UInt8 = 1
    /// Bytes that wait on either side.
    private static let buffer = 256 << 10
    /// For the other side to say what it has to say first.
    private static let patience: TimeAmount = .seconds(10)

    private let role: Role
    /// Without a byte either way for this long it ends, as a stream of plain NIP-74 does.
    private let idleTimeout: TimeAmount?
    private var lastActivity = NIODeadline.now()
    private var isReady = false
    private var greeting = ByteBuffer()
    private var timer: Scheduled<Void>?
    private var endpoint: (any StreamEndpoint)?
    private var context: ChannelHandlerContext?
    private var unconsumed = 0
    private var readIsPending = false
    private var pendingWrites = 0
    private var outputShouldClose = false
    private var outputIsClosed = false
    private var inputIsClosed = false
    private var isOver = false
    /// Called when the connection is closed.
    var onClose: () -> Void = {}

    init(_ role: Role, idleTimeout: TimeAmount?) {
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
        self.timer = context.eventLoop.scheduleTask(in: Self.patience) { channel.close(promise: nil) }
        if case .exit(let key, _) = self.role {
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: key)), promise: nil)
        }
        self.read()
    }

    private func read() {
        guard !self.readIsPending, !self.inputIsClosed, self.unconsumed < Self.buffer, let context = self.context else {
            return
        }
        self.readIsPending = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let data = Self.unwrapInboundIn(data)
        guard !self.isReady else {
            self.deliver(data)
            return
        }
        self.greeting.writeImmutableBuffer(data)
        self.advance(context)
    }

    private func advance(_ context: ChannelHandlerContext) {
        switch self.role {
        case .exit(_, let onReady):
            guard let byte = self.greeting.readInteger(as: UInt8.self) else { return }
            guard byte == Self.acceptance else {
                context.close(promise: nil)
                return
            }
            self.becomeReady()
            onReady(self)
        case .entry(let find):
            guard let key = self.greeting.readString(length: Self.keyLength) else { return }
            guard let endpoint = find(key.lowercased(), self) else {
                context.close(promise: nil)
                return
            }
            self.becomeReady()
            self.endpoint = endpoint
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: [Self.acceptance])), promise: nil)
            endpoint.opened()
            self.endpoint?.credit(Self.buffer)
        }
        // What came in the same segment.
        let rest = self.greeting
        self.greeting = ByteBuffer()
        if rest.readableBytes > 0 { self.deliver(rest) }
    }

    private func becomeReady() {
        self.isReady = true
        self.timer?.cancel()
        if let idleTimeout { self.watchIdleness(for: idleTimeout) }
    }

    private func watchIdleness(for wait: TimeAmount) {
        guard let context = self.context, let idleTimeout else { return }
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: wait) {
            guard !self.isOver else { return }
            let left = self.lastActivity + idleTimeout - NIODeadline.now()
            if left > .zero {
                self.watchIdleness(for: left)
            } else {
                self.end(.idle)
                self.context?.close(promise: nil)
            }
        }
    }

    private func deliver(_ data: ByteBuffer) {
        guard !self.isOver, let endpoint else { return }
        self.lastActivity = .now()
        self.unconsumed += data.readableBytes
        endpoint.receive(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.readIsPending = false
        self.read()
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent, !self.inputIsClosed {
            self.inputIsClosed = true
            if self.isReady { self.endpoint?.finished() } else { context.close(promise: nil) }
            self.endIfDone()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        // Closed in good order both ways, or broken off.
        self.end(self.outputIsClosed ? nil : .connectionReset)
        self.onClose()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.end(.connectionReset)
        context.close(promise: nil)
    }

    private func endIfDone() {
        guard self.inputIsClosed, self.outputIsClosed else { return }
        self.end(nil)
        self.context?.close(promise: nil)
    }

    private func end(_ reason: StreamEnd?) {
        guard !self.isOver else { return }
        self.isOver = true
        let endpoint = self.endpoint
        self.endpoint = nil
        endpoint?.ended(reason)
    }

    // MARK: Stream

    /// Joins the stream with what it is connected to.
    func attach(_ endpoint: any StreamEndpoint) {
        self.endpoint = endpoint
    }

    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint) {
        guard self.endpoint != nil else { return }
        self.endpoint = endpoint
    }

    func connected(_ id: StreamID) {
        self.endpoint?.credit(Self.buffer)
    }

    func send(_ id: StreamID, _ data: ByteBuffer) {
        guard !self.isOver, let context = self.context else { return }
        let count = data.readableBytes
        self.pendingWrites += 1
        context.writeAndFlush(Self.wrapOutboundOut(data)).assumeIsolated().whenComplete { result in
            self.pendingWrites -= 1
            self.lastActivity = .now()
            if case .success = result { self.endpoint?.credit(count) }
            self.closeOutputIfDone()
        }
    }

    func finish(_ id: StreamID) {
        self.outputShouldClose = true
        self.closeOutputIfDone()
    }

    private func closeOutputIfDone() {
        guard self.outputShouldClose, self.pendingWrites == 0, !self.isOver, let context = self.context else { return }
        self.outputShouldClose = false
        self.outputIsClosed = true
        context.close(mode: .output, promise: nil)
        self.endIfDone()
    }

    func reset(_ id: StreamID, _ reason: StreamEnd) {
        guard !self.isOver else { return }
        self.isOver = true
        self.endpoint = nil
        self.context?.channel.abort()
    }

    func consumed(_ id: StreamID, _ bytes: Int) {
        self.unconsumed -= bytes
        self.read()
    }
}
