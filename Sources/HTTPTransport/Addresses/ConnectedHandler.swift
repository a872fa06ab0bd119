//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The first handler of a channel that may lose the race to be connected (RFC 8305). Until ``start(_:)`` the handlers
/// behind it see no event, so that they neither send nor report anything on a connection that is not used.
final class ConnectedHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer

    private var context: ChannelHandlerContext?
    /// Whether ``start(_:)`` was called.
    private var isStarted = false
    /// Whether the channel reported that it is active. That can be before or after ``start(_:)``.
    private var wasActive = false

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        self.wasActive = true
        self.removeWhenDone()
    }

    func channelInactive(context: ChannelHandlerContext) {
        if self.isStarted { context.fireChannelInactive() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if self.isStarted { context.fireErrorCaught(error) }
    }

    private func start() {
        guard let context else { return }
        self.isStarted = true
        context.fireChannelActive()
        if !context.channel.isActive { context.fireChannelInactive() }
        self.removeWhenDone()
    }

    private func removeWhenDone() {
        guard self.isStarted, self.wasActive, let context else { return }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    /// Starts the handlers of a channel that has this handler. Call it on the event loop of the channel.
    static func start(_ channel: any Channel) {
        try? channel.pipeline.syncOperations.handler(type: Self.self).start()
    }
}
