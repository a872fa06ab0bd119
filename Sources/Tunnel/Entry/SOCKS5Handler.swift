//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import TunnelProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// One SOCKS client: handshake, request, and then the splice takes over.
final class SOCKS5Handler: ChannelInboundHandler, RemovableChannelHandler, StreamEndpoint {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Bytes of the handshake are read.
        case handshake
        /// The client was told that all is well, and its first bytes are waited for.
        case gathering(TargetAddress)
        /// The stream is being opened.
        case opening(TargetAddress)
        /// The splice has the connection.
        case spliced
        /// Over.
        case closed
    }

    private let core: EntryCore
    private let logger: Logger
    private let timeout: TimeAmount
    private var machine: SOCKS5HandshakeStateMachine
    private var state = State.handshake
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var stream: OpenedStream?
    /// The client has its answer already (optimistic).
    private var hasReplied = false
    /// What the client sent behind its request, and whether it sends no more.
    private var earlyData = ByteBuffer()
    private var inputIsClosed = false
    /// What the link reported before the splice was there.
    private var early: [(SpliceHandler) -> Void] = []
    /// What took over. The link may still call here for what it said in one go.
    private var splice: SpliceHandler?
    private var startedAt = NIODeadline.now()
    private var hasTriedAgain = false

    init(core: EntryCore, configuration: EntryConfiguration, logger: Logger) {
        self.core = core
        self.logger = logger
        self.timeout = configuration.handshakeTimeout
        self.machine = SOCKS5HandshakeStateMachine(credentials: configuration.credentials)
    }

    // MARK: Socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.begin(context)
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.context = nil
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard self.timer == nil else { return }
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.timeout) { channel.close(promise: nil) }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .gathering(let target) = self.state {
            self.earlyData.writeImmutableBuffer(Self.unwrapInboundIn(data))
            self.open(target)
            return
        }
        if case .opening = self.state {
            // NIO reads to the end when the client half-closes; what it sent belongs to the stream.
            self.earlyData.writeImmutableBuffer(Self.unwrapInboundIn(data))
            return
        }
        guard case .handshake = self.state else { return }
        var action = self.machine.receive(Self.unwrapInboundIn(data))
        while case .reply(let bytes) = action {
            self.write(bytes)
            action = self.machine.receive(ByteBuffer())
        }
        switch action {
        case .wait, .reply:
            break
        case .fail(let bytes, let failure):
            self.core.metrics.handshakeFailed(failure)
            self.logger.info("SOCKS handshake failed", metadata: ["reason": "\(failure.rawValue)"])
            self.close(after: bytes)
        case .connect(let target, _):
            if self.core.configuration.isOptimistic { self.gather(target, context) } else { self.open(target) }
        }
    }

    /// Tells the client that all is well, and waits a moment for what it has to say.
    private func gather(_ target: TargetAddress, _ context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.hasReplied = true
        self.write(SOCKS5Reply.succeeded.encoded)
        self.earlyData = self.machine.takeLeftover()
        guard self.earlyData.readableBytes == 0 else {
            self.open(target)
            return
        }
        self.state = .gathering(target)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: EntryConfiguration.earlyDataPatience) {
            if case .gathering(let target) = bound.value.state { bound.value.open(target) }
        }
        context.read()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // While the stream opens, what the client sends stays in the kernel.
        if case .handshake = self.state { context.read() }
        context.fireChannelReadComplete()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            switch self.state {
            case .handshake: context.close(promise: nil)
            case .gathering(let target):
                self.inputIsClosed = true
                self.open(target)
            case .opening: self.inputIsClosed = true
            case .spliced, .closed: break
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
        if case .opening = self.state, let stream { stream.link.reset(stream.id, .connectionReset) }
        if case .spliced = self.state { return }
        self.state = .closed
    }

    // MARK: Stream

    private func open(_ target: TargetAddress) {
        self.timer?.cancel()
        self.state = .opening(target)
        self.startedAt = .now()
        let earlyData = self.hasReplied ? Array(self.earlyData.readableBytesView) : []
        self.core.open(target, earlyData: earlyData, endpoint: self) { result in
            switch result {
            case .success(let stream):
                self.stream = stream
                if case .closed = self.state { stream.link.reset(stream.id, .connectionReset) }
            case .failure(let error):
                self.logger.warning("cannot connect", metadata: ["target": "\(target)", "reason": "\(error)"])
                self.close(after: error.reply.encoded)
            }
        }
    }

    func opened() {
        guard case .opening(let target) = self.state, let stream, let context = self.context else { return }
        self.state = .spliced
        let logger = self.logger
        let startedAt = self.startedAt
        let splice = SpliceHandler(link: stream.link, id: stream.id) { reason, sent, received in
            logger.info(
                "stream ended",
                metadata: [
                    "target": "\(target)", "sent": "\(sent)", "received": "\(received)",
                    "ms": "\((NIODeadline.now() - startedAt).nanoseconds / 1_000_000)",
                    "reason": "\(reason?.rawValue ?? "complete")",
                ]
            )
        }
        logger.debug("stream opened", metadata: ["target": "\(target)"])
        stream.link.replaceEndpoint(of: stream.id, with: splice)
        if !self.hasReplied { self.write(SOCKS5Reply.succeeded.encoded) }
        do {
            try context.pipeline.syncOperations.addHandler(splice)
        } catch {
            stream.link.reset(stream.id, .connectionReset)
            context.close(promise: nil)
            return
        }
        var leftover = self.machine.takeLeftover()
        leftover.writeBuffer(&self.earlyData)
        // What went with the offer is with the exit already.
        leftover.moveReaderIndex(forwardBy: min(stream.earlyBytes, leftover.readableBytes))
        splice.unread(leftover, inputIsClosed: self.inputIsClosed)
        self.splice = splice
        let early = self.early
        self.early = []
        for call in early { call(splice) }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func ended(_ reason: StreamEnd?) {
        if let splice {
            splice.ended(reason)
            return
        }
        guard case .opening(let target) = self.state else { return }
        let end = reason ?? .connectionReset
        self.stream = nil
        if end == .unknownSession, !self.hasTriedAgain {
            // The exit restarted, and this request reached nobody: it is as good as new in another session, which can
            // be had once the old one is forgotten.
            self.hasTriedAgain = true
            let bound = NIOLoopBound(self, eventLoop: self.core.loop)
            self.core.loop.execute {
                guard case .opening(let target) = bound.value.state else { return }
                bound.value.open(target)
            }
            return
        }
        self.logger.warning(
            "cannot connect",
            metadata: ["target": "\(target)", "hop": "\(end.hop)", "reason": "\(end)"]
        )
        self.close(after: SOCKS5Reply(end).encoded)
    }

    func credit(_ bytes: Int) { self.pass { $0.credit(bytes) } }
    func receive(_ data: ByteBuffer) { self.pass { $0.receive(data) } }
    func finished() { self.pass { $0.finished() } }

    /// To the splice, now or as soon as there is one.
    private func pass(_ call: @escaping (SpliceHandler) -> Void) {
        if let splice { call(splice) } else { self.early.append(call) }
    }

    // MARK: Writing

    private func write(_ bytes: [UInt8]) {
        self.context?.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }

    private func close(after bytes: [UInt8]) {
        self.state = .closed
        guard let context = self.context else { return }
        let channel = context.channel
        if self.hasReplied, let options = channel as? any SocketOptionProvider {
            // It was told otherwise before: an error must not look like an end.
            options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in }
        }
        guard !bytes.isEmpty, !self.hasReplied else {
            context.close(promise: nil)
            return
        }
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes))).whenComplete { _ in
            channel.close(promise: nil)
        }
    }
}
