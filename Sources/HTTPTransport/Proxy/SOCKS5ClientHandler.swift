//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Performs the SOCKS5 handshake on a connection to a proxy.
///
/// It must be the first handler of the pipeline. It fires `channelActive` when the proxy has connected to the target,
/// and then removes itself.
final class SOCKS5ClientHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Maximum number of bytes of an incomplete message from the proxy.
    private static let maximumBytes = 4_096

    private var handshake: SOCKS5ClientHandshake
    private var received = ByteBuffer()
    private var isOver = false

    init(_ proxy: SOCKS5Proxy, host: String, port: Int) {
        self.handshake = SOCKS5ClientHandshake(host: host, port: port, isolation: proxy.isolation)
    }

    func channelActive(context: ChannelHandlerContext) {
        context.writeAndFlush(Self.wrapOutboundOut(self.handshake.greeting), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isOver else {
            context.fireChannelRead(data)
            return
        }
        self.received.writeImmutableBuffer(Self.unwrapInboundIn(data))
        do {
            while !self.isOver {
                switch try self.handshake.advance(&self.received) {
                case .wait:
                    guard self.received.readableBytes <= Self.maximumBytes else { throw SOCKS5Proxy.Failure.notSOCKS5 }
                    return
                case .send(let message):
                    context.writeAndFlush(Self.wrapOutboundOut(message), promise: nil)
                case .connected:
                    self.isOver = true
                    context.fireChannelActive()
                    if self.received.readableBytes > 0 { context.fireChannelRead(Self.wrapInboundOut(self.received)) }
                    context.pipeline.syncOperations.removeHandler(self, promise: nil)
                }
            }
        } catch {
            self.isOver = true
            context.fireErrorCaught(error)
            context.close(promise: nil)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if !self.isOver {
            self.isOver = true
            context.fireErrorCaught(SOCKS5Proxy.Failure.closed)
        }
        context.fireChannelInactive()
    }
}
