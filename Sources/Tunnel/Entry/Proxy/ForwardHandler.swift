//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
public import TunnelProtocol

/// Why a stream that somebody waited for did not end well.
public struct StreamFailure: Error, CustomStringConvertible, Sendable {
    /// The place where it failed.
    public let hop: StreamEnd.Hop
    public let reason: String
    /// How the stream ended; nil if there was none, or the entry itself is why.
    public let end: StreamEnd?

    init(_ end: StreamEnd) {
        self.hop = end.hop
        self.reason = "\(end)"
        self.end = end
    }

    init(hop: StreamEnd.Hop, reason: String) {
        self.hop = hop
        self.reason = reason
        self.end = nil
    }

    public var description: String { "\(self.hop.rawValue): \(self.reason)" }
}

/// A connection whose target is known beforehand: opens the stream at once, and leaves the connection to a splice.
final class ForwardHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let request: ProxyRequest
    private let core: EntryCore
    private let logger: Logger
    private let onEnd: ((Result<Void, any Error>) -> Void)?
    private var opening: StreamOpening?
    private var context: ChannelHandlerContext?
    private var earlyData = ByteBuffer()
    private var inputIsClosed = false

    /// - Parameter onEnd: Called once, when the stream is over or could not be opened.
    init(
        _ request: ProxyRequest,
        core: EntryCore,
        logger: Logger,
        onEnd: ((Result<Void, any Error>) -> Void)? = nil
    ) {
        self.request = request
        self.core = core
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
            core: self.core,
            logger: self.logger,
            onOpened: { self.opened() },
            onFailed: { self.fail(StreamFailure(hop: $0.hop, reason: $0.text)) },
            onEnded: { [onEnd] reason in
                guard let reason else {
                    onEnd?(.success(()))
                    return
                }
                onEnd?(.failure(StreamFailure(reason)))
            }
        )
        self.opening = opening
        opening.start()
    }

    private func opened() {
        guard let opening = self.opening, let context = self.context else { return }
        self.opening = nil
        opening.join(context, leftover: self.earlyData, inputIsClosed: self.inputIsClosed)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    private func fail(_ failure: StreamFailure) {
        self.opening = nil
        self.onEnd?(.failure(failure))
        // The client was let in already: an error must not look like an end.
        self.context?.channel.abort()
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
        self.onEnd?(.failure(StreamFailure(hop: .entry, reason: "the connection was closed")))
    }
}
