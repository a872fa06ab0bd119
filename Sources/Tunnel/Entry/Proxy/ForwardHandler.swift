//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// Handles a connection with a fixed target. It opens the stream immediately. When the stream is open, a splice
/// replaces this handler.
final class ForwardHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: ProxyRequest
    private let opener: any StreamOpener
    private let logger: LimitedLogger
    private let onEnd: (Result<Void, StreamFailure>) -> Void
    private var opening: StreamOpening?
    private var context: ChannelHandlerContext?
    private var earlyData = ByteBuffer()
    private var inputIsClosed = false

    /// - Parameter onEnd: Called once, when the stream has ended or could not be opened.
    init(
        _ target: TargetAddress,
        opener: any StreamOpener,
        logger: LimitedLogger,
        onEnd: @escaping (Result<Void, StreamFailure>) -> Void = { _ in }
    ) {
        self.request = ProxyRequest(target, credentials: nil)
        self.opener = opener
        self.logger = logger
        self.onEnd = onEnd
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.begin() }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.begin()
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    private func begin() {
        guard self.opening == nil else { return }
        let opening = StreamOpening(
            self.request,
            opener: self.opener,
            logger: self.logger,
            delegate: self,
            onEnd: { [onEnd] reason in onEnd(reason.map { .failure(StreamFailure($0)) } ?? .success(())) }
        )
        self.opening = opening
        opening.start()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.earlyData.writeImmutableBuffer(Self.unwrapInboundIn(data))
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent { self.inputIsClosed = true }
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
        guard let opening = self.opening else { return }
        self.opening = nil
        opening.abandon()
        self.onEnd(.failure(StreamFailure(hop: .entry, reason: "the connection was closed")))
    }
}

extension ForwardHandler: StreamOpeningDelegate {
    func openingDidSucceed(_ opening: StreamOpening) {
        guard let context = self.context else { return }
        self.opening = nil
        opening.join(context, leftover: self.earlyData, inputIsClosed: self.inputIsClosed)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) {
        self.opening = nil
        self.onEnd(.failure(StreamFailure(failure)))
        // The client's connection was accepted. Reset it, so that the error does not look like the end of the data.
        self.context?.channel.abort()
    }
}
