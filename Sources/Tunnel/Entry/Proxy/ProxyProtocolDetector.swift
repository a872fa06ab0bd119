//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import TunnelProtocol

/// Distinguishes SOCKS from HTTP by the first byte of a connection. The handler of the detected protocol replaces this
/// handler.
final class ProxyProtocolDetector: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let proxy: ProxyContext
    private var timer: Scheduled<Void>?

    init(_ proxy: ProxyContext) {
        self.proxy = proxy
    }

    func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { self.begin(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.begin(context)
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard self.timer == nil else { return }
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.proxy.handshakeTimeout) {
            channel.close(promise: nil)
        }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        guard let first = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) else { return }
        do {
            let pipeline = context.pipeline.syncOperations
            // HTTP begins with a method, or with empty lines before it (RFC 9112, section 2.2).
            if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(first) || (0x61...0x7a).contains(first)
                || HTTPHeadReader.isLineEnd(first)
            {
                try pipeline.addHandler(HTTPProxyHandler(proxy: self.proxy))
            } else {
                try pipeline.addHandler(SOCKSHandler(firstByte: first, proxy: self.proxy))
            }
        } catch {
            context.close(promise: nil)
            return
        }
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // The client finished sending without a request.
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }
}
