//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
import NIOPosix
import NIOSSL

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Terminates TLS in front of a service: a stream's bytes are decrypted here, and the service gets plain bytes.
///
/// A pair of sockets connects the stream's splice with the TLS handler, so that the splice works as for other services.
struct TLSTerminator: Sendable {
    private let tls: ServerTLS

    init(_ certificate: ExitCertificate) throws {
        self.tls = try ServerTLS(certificates: [certificate.server, certificate.authority], key: certificate.serverKey)
    }

    /// Puts TLS in front of a connection to a service. Returns the channel whose bytes are encrypted, without handlers.
    func wrap(_ backend: any Channel, on loop: any EventLoop) -> EventLoopFuture<any Channel> {
        var ends: [CInt] = [-1, -1]
        #if canImport(Glibc)
        let kind = CInt(SOCK_STREAM.rawValue)
        #else
        let kind = SOCK_STREAM
        #endif
        guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
            backend.close(promise: nil)
            return loop.makeFailedFuture(IOError(errnoCode: errno, reason: "socketpair"))
        }
        let (inner, outer) = (ends[0], ends[1])
        let tls = self.tls
        let (inside, outside) = GlueHandler.pair(on: loop)
        @Sendable func bootstrap() -> ClientBootstrap {
            ClientBootstrap(group: loop)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelOption(.autoRead, value: false)
                .channelOption(.maxMessagesPerRead, value: 1)
        }
        return bootstrap().withConnectedSocket(outer).flatMap { splice in
            // TLS would say a proper end; a service that broke off must not look like one.
            inside.value.onFailure = { splice.pipeline.fireErrorCaught(ChannelError.ioOnClosedChannel) }
            inside.value.endsInOrder = true
            outside.value.onFailure = { splice.pipeline.fireErrorCaught(ChannelError.ioOnClosedChannel) }
            return bootstrap().channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(tls.makeHandler(), inside.value)
                    try backend.pipeline.syncOperations.addHandler(outside.value)
                }
            }.withConnectedSocket(inner).map { _ in splice }.flatMapError { error in
                splice.close(promise: nil)
                return loop.makeFailedFuture(error)
            }
        }.flatMapError { error in
            backend.close(promise: nil)
            return loop.makeFailedFuture(error)
        }
    }
}

/// One of two handlers that pass bytes between their channels, as fast as the slower one takes them.
final class GlueHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private weak var partner: GlueHandler?
    private var context: ChannelHandlerContext?
    private var pendingWrites = 0
    private var isReading = false
    private var outputShouldClose = false
    private var outputIsClosed = false
    /// Whether it ends without a word when all is said: TLS does.
    var endsInOrder = false
    private var inputIsClosed = false
    /// Called if this side breaks off instead of ending.
    var onFailure: (() -> Void)?

    static func pair(on loop: any EventLoop) -> (NIOLoopBound<GlueHandler>, NIOLoopBound<GlueHandler>) {
        let (first, second) = (GlueHandler(), GlueHandler())
        first.partner = second
        second.partner = first
        return (NIOLoopBound(first, eventLoop: loop), NIOLoopBound(second, eventLoop: loop))
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.read() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        self.read()
        context.fireChannelActive()
    }

    private func read() {
        // Whoever reads on behind the end is told of an error.
        guard !self.isReading, !self.inputIsClosed, let context = self.context, let partner = self.partner,
            partner.pendingWrites == 0
        else { return }
        self.isReading = true
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.partner?.write(Self.unwrapInboundIn(data))
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.read()
    }

    private func write(_ data: ByteBuffer) {
        guard let context = self.context else { return }
        self.pendingWrites += 1
        context.writeAndFlush(Self.wrapOutboundOut(data)).assumeIsolated().whenComplete { _ in
            self.pendingWrites -= 1
            self.closeOutputIfDone()
            self.partner?.read()
        }
    }

    private func closeOutputIfDone() {
        guard self.outputShouldClose, self.pendingWrites == 0 else { return }
        self.outputShouldClose = false
        self.outputIsClosed = true
        self.context?.close(mode: .output, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            self.inputIsClosed = true
            self.partner?.outputShouldClose = true
            self.partner?.closeOutputIfDone()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        // NIO reports an end that comes after ours like this, and TLS its farewell.
        if !self.inputIsClosed, !self.outputIsClosed, !self.endsInOrder { self.onFailure?() }
        self.onFailure = nil
        self.partner?.finish()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client that goes without TLS's farewell is one that goes, and one that TLS turned away is to hear why: the
        // alert comes first, then the end.
        switch error as? NIOSSLError {
        case .uncleanShutdown?, .handshakeFailed?: self.onFailure = nil
        default: break
        }
        self.onFailure?()
        self.onFailure = nil
        context.close(promise: nil)
    }

    /// The other side is gone: what is written still goes out. That this side ends before its peer did is no failure.
    private func finish() {
        self.onFailure = nil
        guard let context = self.context else { return }
        let channel = context.channel
        guard self.pendingWrites > 0 else {
            channel.close(promise: nil)
            return
        }
        context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer())).whenComplete { _ in channel.close(promise: nil) }
    }
}
