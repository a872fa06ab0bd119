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

/// Terminates TLS for a service: it decrypts the data of a stream and passes plaintext to the service.
///
/// A socket pair connects the stream's splice with the TLS handler, so that the splice works as for any other service.
struct TLSTerminator: Sendable {
    private let tls: ServerTLS

    init(_ certificate: ExitCertificate) throws {
        self.tls = try ServerTLS(certificates: [certificate.server, certificate.authority], key: certificate.serverKey)
    }

    /// Adds TLS to a connection to a service. Returns a channel without handlers that carries the encrypted data.
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
            // If the connection to the service fails, report an error to the splice. Otherwise, the TLS handler would
            // close the connection normally.
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

/// One of two handlers that pass data between their channels. A slow channel limits the other one.
final class GlueHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private weak var partner: GlueHandler?
    private var context: ChannelHandlerContext?
    private var pendingWrites = 0
    private var isReading = false
    /// The half-close state of this handler's channel; the stream is the partner's channel.
    private var halfClose = HalfClose()
    /// Whether the channel may become inactive without a preceding end of input. TLS does this in normal operation.
    var endsInOrder = false
    /// Called if the channel fails instead of closing normally.
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
        // Reading after the end of input would cause an error.
        guard !self.isReading, !self.halfClose.isInputClosed, let context = self.context, let partner = self.partner,
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
        guard self.pendingWrites == 0, self.halfClose.flushed() == .closeOutput else { return }
        self.context?.close(mode: .output, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent, self.halfClose.inputEnded(), let partner {
            partner.halfClose.peerFinished()
            partner.closeOutputIfDone()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        // NIO does not report the end of input if our output was closed before, and neither does TLS after
        // close_notify.
        if !self.halfClose.isInputClosed, !self.halfClose.isOutputClosed, !self.endsInOrder { self.onFailure?() }
        self.onFailure = nil
        self.partner?.finish()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A client that disconnects without close_notify is not a failure. After a failed handshake, the TLS handler
        // first sends an alert to the client and then closes.
        switch error as? NIOSSLError {
        case .uncleanShutdown?, .handshakeFailed?: self.onFailure = nil
        default: break
        }
        self.onFailure?()
        self.onFailure = nil
        context.close(promise: nil)
    }

    /// The other channel is closed. Flush pending writes, then close this channel. This is not a failure.
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
