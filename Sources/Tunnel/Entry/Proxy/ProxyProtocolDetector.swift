//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NIOHTTP1
import TunnelProtocol

/// Tells SOCKS and HTTP apart by a connection's first byte, and leaves the connection to the handler of one of them.
final class ProxyProtocolDetector: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private let core: EntryCore
    private let logger: Logger
    private var timer: Scheduled<Void>?

    init(core: EntryCore, logger: Logger) {
        self.core = core
        self.logger = logger
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
        self.timer = context.eventLoop.scheduleTask(in: self.core.configuration.handshakeTimeout) {
            channel.close(promise: nil)
        }
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        guard let first = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) else { return }
        do {
            let pipeline = context.pipeline.syncOperations
            if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(first) || (0x61...0x7a).contains(first) {
                let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes))
                try pipeline.addHandlers([
                    decoder, HTTPProxyHandler(decoder: decoder, core: self.core, logger: self.logger),
                ])
            } else {
                try pipeline.addHandler(SOCKSHandler(firstByte: first, core: self.core, logger: self.logger))
            }
        } catch {
            context.close(promise: nil)
            return
        }
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // Whoever says no more without having said anything wants nothing.
        if case .inputClosed? = event as? ChannelEvent { context.close(promise: nil) }
    }
}
