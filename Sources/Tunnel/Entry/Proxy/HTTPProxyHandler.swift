//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOHTTP1
import TunnelProtocol

/// Handles one client of the HTTP proxy: CONNECT, or requests in absolute form (RFC 9110, section 9.3.6; RFC 9112,
/// section 3.2.2).
///
/// It is between the client's socket and the splice of the stream, and performs the actions of
/// ``HTTPProxyStateMachine``.
final class HTTPProxyHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Timeout for the next request on a persistent connection.
    private static let keepAliveTimeout: TimeAmount = .minutes(5)
    /// Timeout for the remaining responses after the client has finished sending.
    private static let lastAnswersTimeout: TimeAmount = .minutes(1)
    /// How long the client may take to close the connection after all bytes were written.
    private static let closeTimeout: TimeAmount = .seconds(5)
    /// Maximum time without progress while the client acknowledges written bytes.
    private static let acknowledgementTimeout: TimeAmount = .seconds(10)

    private let proxy: ProxyContext
    private var machine: HTTPProxyStateMachine
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var isAdvancing = false
    private var opening: StreamOpening?
    private var splice: SpliceHandler?
    private var target: TargetAddress?
    /// Whether a read of the splice is delayed until more input can be processed.
    private var isReadHeld = false

    init(proxy: ProxyContext) {
        self.proxy = proxy
        self.machine = HTTPProxyStateMachine(credentials: proxy.credentials)
    }

    // MARK: Client

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.close(in: self.proxy.handshakeTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.context = nil
    }

    private func close(in timeout: TimeAmount) {
        self.timer?.cancel()
        guard let context = self.context else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        self.timer = context.eventLoop.scheduleTask(in: timeout) { bound.value.timedOut(timeout) }
    }

    private func timedOut(_ timeout: TimeAmount) {
        // A client that has not read its whole response is not idle.
        if let splice, !splice.isFlushed { return self.close(in: timeout) }
        self.context?.channel.closeWhenAcknowledged(timeout: Self.acknowledgementTimeout)
    }

    /// Closes the output when all bytes are written. Closes the connection if the client does not close it in time.
    private func endOutput(_ context: ChannelHandlerContext, after last: ByteBuffer = ByteBuffer()) {
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let channel = context.channel
        self.close(in: Self.keepAliveTimeout)
        context.writeAndFlush(Self.wrapOutboundOut(last)).whenComplete { _ in
            channel.close(mode: .output, promise: nil)
            bound.value.close(in: Self.closeTimeout)
        }
        context.read()
    }

    private func stopTimer() {
        self.timer?.cancel()
        self.timer = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.machine.receive(Self.unwrapInboundIn(data))
        self.advance()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.fireChannelReadComplete()
        if self.splice == nil, self.machine.wantsInput { context.read() }
    }

    func read(context: ChannelHandlerContext) {
        if self.machine.wantsInput { context.read() } else { self.isReadHeld = true }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .inputClosed? = event as? ChannelEvent else { return context.fireUserInboundEventTriggered(event) }
        self.machine.inputClosed()
        self.advance()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.abandon()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.abandon()
        context.fireErrorCaught(error)
        context.close(promise: nil)
    }

    private func abandon() {
        self.timer?.cancel()
        self.opening?.abandon()
        self.opening = nil
    }

    // MARK: Requests

    private func advance() {
        guard !self.isAdvancing else { return }
        self.isAdvancing = true
        while let context = self.context, let action = self.machine.next() { self.perform(action, context) }
        self.isAdvancing = false
        if self.machine.isIdle, self.timer == nil { self.close(in: Self.keepAliveTimeout) }
        if self.machine.isWaitingAtEnd, self.timer == nil { self.close(in: Self.lastAnswersTimeout) }
        if self.isReadHeld, self.machine.wantsInput {
            self.isReadHeld = false
            self.context?.read()
        }
    }

    private func perform(_ action: HTTPProxyStateMachine.Action, _ context: ChannelHandlerContext) {
        switch action {
        case .open(let request):
            self.open(request)
        case .send(let bytes):
            self.stopTimer()
            context.fireChannelRead(Self.wrapInboundOut(bytes))
        case .endInput:
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        case .leave(let bytes, let isInputClosed):
            if bytes.readableBytes > 0 { context.fireChannelRead(Self.wrapInboundOut(bytes)) }
            if isInputClosed { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
        case .respond(let answer, let hasBody):
            self.respond(self.response(answer, context), hasBody: hasBody)
        case .close:
            self.leaveStream()
            self.endOutput(context)
        case .abort:
            context.channel.abort()
        }
    }

    private func open(_ request: HTTPProxyRequest) {
        self.stopTimer()
        self.leaveStream()
        let opening = StreamOpening(
            ProxyRequest(request.target, credentials: request.credentials),
            opener: self.proxy.opener,
            logger: self.proxy.logger,
            delegate: self
        )
        self.opening = opening
        opening.start()
    }

    private func leaveStream() {
        self.opening?.abandon()
        self.opening = nil
        guard let splice = self.splice else { return }
        self.splice = nil
        splice.detach()
        self.context?.pipeline.syncOperations.removeHandler(splice, promise: nil)
    }

    // MARK: Service

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        var bytes = Self.unwrapOutboundIn(data)
        let count = self.machine.receiveFromService(bytes)
        // Dropped bytes count as delivered, so that the service can continue to send.
        context.write(Self.wrapOutboundOut(bytes.readSlice(length: count) ?? ByteBuffer()), promise: promise)
        // If the end of the response is uncertain, the client's next request is read, and ends the connection.
        guard self.machine.isIdle || self.machine.isUpgraded || self.isReadHeld && self.machine.wantsInput else {
            return
        }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        // In a later turn of the event loop, because the splice is writing.
        context.eventLoop.execute { bound.value.endExchange() }
    }

    /// Called after a complete response, or after the service has switched to another protocol.
    private func endExchange() {
        guard let context = self.context else { return }
        self.advance()
        guard self.machine.isUpgraded else { return }
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .output {
            if let answer = self.machine.outputClosed() {
                promise?.succeed()
                let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
                // In a later turn of the event loop, because the splice is closing.
                context.eventLoop.execute { bound.value.serviceClosedUnanswered(answer) }
                return
            }
            self.close(in: Self.keepAliveTimeout)
        }
        context.close(mode: mode, promise: promise)
    }

    private func serviceClosedUnanswered(_ answer: HTTPProxyStateMachine.StreamFailureResponse) {
        guard let context = self.context else { return }
        switch answer {
        case .page(let hasBody):
            let text = "The service closed the connection without an answer."
            self.respond(ProxyResponse(.badGateway, text: text), hasBody: hasBody)
        case .close, .reset: self.perform(.close, context)
        }
    }

    // MARK: Responses of the proxy

    private func response(
        _ answer: HTTPProxyStateMachine.Answer,
        _ context: ChannelHandlerContext
    ) -> ProxyResponse {
        switch answer {
        case .ownPage(let path, let host):
            return ProxyResponse(
                ownPath: path,
                page: EntryHomePage(
                    exits: self.proxy.opener.namedExits,
                    address: ProxyAutoConfiguration.address(host, context.channel.localAddress),
                    host: host,
                    isLocal: self.proxy.credentials == nil
                        && context.channel.remoteAddress.map { AddressClass($0) == .loopback } ?? false
                )
            )
        case .rejected(let failure):
            self.proxy.metrics.handshakeFailed(.malformed)
            return ProxyResponse(failure.httpStatus, text: failure.text)
        case .wrongCredentials:
            self.proxy.metrics.handshakeFailed(.wrongCredentials)
            return ProxyResponse(
                .proxyAuthenticationRequired,
                text: "This proxy requires a user name and a password."
            )
        }
    }

    private func respond(_ response: ProxyResponse, hasBody: Bool) {
        self.leaveStream()
        guard let context = self.context else { return }
        self.endOutput(context, after: response.encoded(hasBody: hasBody))
    }

    /// Handles the failure of the stream. Returns false if the connection must be reset.
    private func fail(_ failure: ProxyFailure, _ target: TargetAddress) -> Bool {
        guard let context = self.context else { return false }
        switch self.machine.streamFailed() {
        case .page(let hasBody):
            let text = self.proxy.opener.text
            self.respond(ProxyResponse(failure, target: target, remedyText: text), hasBody: hasBody)
        case .close:
            self.perform(.close, context)
        case .reset:
            return false
        }
        return true
    }
}

extension HTTPProxyHandler: StreamOpeningDelegate {
    func openingDidSucceed(_ opening: StreamOpening) {
        guard let context = self.context, let opened = self.machine.opened() else { return opening.abandon() }
        self.opening = nil
        switch opened {
        case .tunnel(let bytes, let isInputClosed):
            let established = ByteBuffer(string: "HTTP/1.1 200 Connection established\r\n\r\n")
            context.writeAndFlush(Self.wrapOutboundOut(established), promise: nil)
            opening.join(context, leftover: bytes, inputIsClosed: isInputClosed)
            context.pipeline.syncOperations.removeHandler(self, promise: nil)
        case .request(let head):
            self.target = opening.request.target
            self.splice = opening.join(context, leftover: head, inputIsClosed: false)
            self.splice?.failureHandler = self
            self.advance()
        }
    }

    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) {
        self.opening = nil
        _ = self.fail(failure, opening.request.target)
    }
}

extension HTTPProxyHandler: SpliceFailureHandler {
    func splice(_ splice: SpliceHandler, didFail reason: StreamEnd) -> Bool {
        guard splice === self.splice, let target else { return false }
        return self.fail(.ended(reason), target)
    }
}
