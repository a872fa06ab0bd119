//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NIOHTTP1
import TunnelProtocol

/// One client of the HTTP proxy: CONNECT, or requests in absolute form (RFC 9110, section 9.3.6; RFC 9112, section 3.2.2).
///
/// After CONNECT or an upgrade the connection is left to a splice. Otherwise requests are rewritten to origin form and
/// sent on one stream for as long as they have the same target. Responses pass unchanged, so that the service and the
/// client agree on whether the connection is kept.
final class HTTPProxyHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        /// Waiting for a request.
        case waiting
        /// Opening the stream of a request.
        case opening(StreamOpening, HTTPProxyRequest)
        /// The decoder is being removed; bytes that it did not decode come as bytes.
        case handingOver(StreamOpening, ByteBuffer)
        /// Requests for a target are rewritten and passed to the splice.
        case forwarding(SpliceHandler, target: TargetAddress, HTTPProxyRequest.Plain)
        /// Sending a response of the proxy, or closed.
        case done
    }

    /// Most parts of a request that wait while the stream opens. One read of the socket never holds this many.
    private static let maximumEarlyParts = 1_024
    /// For the client to close after a response of the proxy.
    private static let closeTimeout: TimeAmount = .seconds(1)

    private let decoder: ByteToMessageHandler<HTTPRequestDecoder>
    private let proxy: ProxyContext
    private var state = State.waiting
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var earlyParts: [HTTPServerRequestPart] = []
    private var inputIsClosed = false

    init(decoder: ByteToMessageHandler<HTTPRequestDecoder>, proxy: ProxyContext) {
        self.decoder = decoder
        self.proxy = proxy
    }

    // MARK: Socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.proxy.handshakeTimeout) { channel.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.state {
        case .waiting:
            if case .head(let head) = Self.unwrapInboundIn(data) { self.receive(head) }
        case .opening(let opening, let request):
            guard request.plain != nil else { return }
            guard self.earlyParts.count < Self.maximumEarlyParts else {
                opening.abandon()
                return self.respond(.payloadTooLarge, "The request has too many parts.")
            }
            self.earlyParts.append(Self.unwrapInboundIn(data))
        case .handingOver(let opening, var bytes):
            bytes.writeImmutableBuffer(SpliceHandler.unwrapInboundIn(data))
            self.state = .handingOver(opening, bytes)
        case .forwarding:
            self.forward(Self.unwrapInboundIn(data))
        case .done:
            break
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        switch self.state {
        case .waiting: context.read()
        case .forwarding: context.fireChannelReadComplete()
        case .opening, .handingOver, .done: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .inputClosed? = event as? ChannelEvent {
            switch self.state {
            case .waiting: context.close(promise: nil)
            case .opening, .handingOver: self.inputIsClosed = true
            case .forwarding, .done: context.fireUserInboundEventTriggered(event)
            }
            return
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.abandon()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard case .waiting = self.state, error is HTTPParserError else {
            self.abandon()
            context.fireErrorCaught(error)
            context.close(promise: nil)
            return
        }
        self.proxy.metrics.handshakeFailed(.malformed)
        self.respond(.badRequest, "This is not an HTTP request.")
    }

    private func abandon() {
        self.timer?.cancel()
        switch self.state {
        case .opening(let opening, _), .handingOver(let opening, _): opening.abandon()
        case .waiting, .forwarding, .done: break
        }
        self.state = .done
    }

    // MARK: Requests

    private func receive(_ head: HTTPRequestHead) {
        let request: HTTPProxyRequest
        do {
            request = try HTTPProxyRequest(head)
        } catch .ownPath(let path) {
            return self.serveOwnPage(path, head)
        } catch {
            self.proxy.metrics.handshakeFailed(.malformed)
            return self.respond(.badRequest, error.text)
        }
        if let required = self.proxy.credentials, request.credentials.map({ required.matches($0) }) != true {
            self.proxy.metrics.handshakeFailed(.wrongCredentials)
            return self.respond(
                .proxyAuthenticationRequired,
                "This proxy requires a user name and a password.",
                ["Proxy-Authenticate": "Basic realm=\"nws\""]
            )
        }
        self.timer?.cancel()
        let opening = StreamOpening(
            ProxyRequest(request.target, credentials: request.credentials),
            opener: self.proxy.opener,
            logger: self.proxy.logger,
            delegate: self
        )
        self.state = .opening(opening, request)
        opening.start()
    }

    /// Leaves the connection to a splice: everything from here on belongs to the client and the service.
    ///
    /// - Parameter bytes: What the service gets first.
    private func handOver(_ opening: StreamOpening, _ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        self.state = .handingOver(opening, bytes)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.pipeline.syncOperations.removeHandler(self.decoder).whenComplete { _ in
            guard case .handingOver(let opening, let bytes) = bound.value.state, let context = bound.value.context
            else { return }
            bound.value.state = .done
            _ = opening.join(context, leftover: bytes, inputIsClosed: bound.value.inputIsClosed)
            context.pipeline.syncOperations.removeHandler(bound.value, promise: nil)
        }
    }

    // MARK: Plain requests

    private func begin(_ plain: HTTPProxyRequest.Plain, _ opening: StreamOpening, _ context: ChannelHandlerContext) {
        let early = self.earlyParts
        self.earlyParts = []
        guard !plain.isUpgrade else {
            // The decoder has stopped: what follows may be another protocol.
            return self.handOver(opening, plain.head, context)
        }
        guard let splice = opening.join(context, leftover: plain.head, inputIsClosed: false) else {
            self.state = .done
            return
        }
        splice.failureHandler = self
        _ = splice.takeHasReceived()
        self.state = .forwarding(splice, target: opening.request.target, plain)
        for part in early { self.forward(part) }
        if self.inputIsClosed { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
    }

    /// Passes a part of a request to the splice.
    private func forward(_ part: HTTPServerRequestPart) {
        guard case .forwarding(let splice, let target, let plain) = self.state, let context = self.context else {
            return
        }
        switch part {
        case .head(let head): self.receiveNext(head, splice, target)
        case .body(let bytes): context.fireChannelRead(Self.wrapInboundOut(plain.encoded(bytes)))
        case .end: context.fireChannelRead(Self.wrapInboundOut(plain.encodedEnd))
        }
    }

    /// Another request on a kept connection.
    private func receiveNext(_ head: HTTPRequestHead, _ splice: SpliceHandler, _ target: TargetAddress) {
        guard let context = self.context else { return }
        let hasResponse = splice.takeHasReceived()
        if let request = try? HTTPProxyRequest(head), request.target == target, let plain = request.plain,
            !plain.isUpgrade
        {
            self.state = .forwarding(splice, target: target, plain)
            context.fireChannelRead(Self.wrapInboundOut(plain.head))
            return
        }
        // A client that changes the target before its response came gets that response and then the end of the connection,
        // after which it may repeat what was not answered (RFC 9112, section 9.3.2).
        guard hasResponse else {
            self.state = .done
            context.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
            return
        }
        splice.detach()
        context.pipeline.syncOperations.removeHandler(splice, promise: nil)
        self.state = .waiting
        self.receive(head)
    }

    // MARK: Responses of the proxy

    private func serveOwnPage(_ path: String, _ head: HTTPRequestHead) {
        let own = ProxyAutoConfiguration.address(head.headers.first(name: "Host"), self.context?.channel.localAddress)
        guard path != "/proxy.pac" else {
            return self.send(
                .ok,
                ProxyAutoConfiguration.script(proxy: own),
                ["Content-Type": "application/x-ns-proxy-autoconfig"]
            )
        }
        self.respond(
            path == "/" ? .ok : .notFound,
            "This is a proxy for .nostr names. Use \(own) as SOCKS5 or HTTP proxy, or set http://\(own)/proxy.pac as the automatic proxy configuration of a browser."
        )
    }

    private func respond(_ status: HTTPResponseStatus, _ text: String, _ headers: HTTPHeaders = .init()) {
        self.send(status, FailurePage.html(status: status, text: text), headers)
    }

    private func send(_ status: HTTPResponseStatus, _ body: String, _ extra: HTTPHeaders) {
        self.timer?.cancel()
        self.state = .done
        guard let context = self.context else { return }
        var headers = extra
        if !headers.contains(name: "Content-Type") {
            headers.add(name: "Content-Type", value: "text/html; charset=utf-8")
        }
        headers.add(name: "Content-Length", value: "\(body.utf8.count)")
        headers.add(name: "Connection", value: "close")
        headers.add(name: "Cache-Control", value: "no-store")
        headers.add(name: "Content-Security-Policy", value: "default-src 'none'; style-src 'unsafe-inline'")
        let lines = ["HTTP/1.1 \(status.code) \(status.reasonPhrase)"] + headers.map { "\($0): \($1)" }
        let channel = context.channel
        context.writeAndFlush(
            Self.wrapOutboundOut(ByteBuffer(string: lines.joined(separator: "\r\n") + "\r\n\r\n" + body))
        ).whenComplete { _ in channel.close(mode: .output, promise: nil) }
        _ = context.eventLoop.scheduleTask(in: Self.closeTimeout) { channel.close(promise: nil) }
        context.read()
    }
}

extension HTTPProxyHandler: StreamOpeningDelegate {
    func openingDidSucceed(_ opening: StreamOpening) {
        guard case .opening(_, let request) = self.state, let context = self.context else { return }
        if let plain = request.plain { return self.begin(plain, opening, context) }
        context.writeAndFlush(
            Self.wrapOutboundOut(ByteBuffer(string: "HTTP/1.1 200 Connection established\r\n\r\n")),
            promise: nil
        )
        self.handOver(opening, ByteBuffer(), context)
    }

    func opening(_ opening: StreamOpening, didFail failure: ProxyFailure) {
        self.send(
            failure.httpStatus,
            FailurePage.html(failure, target: opening.request.target, remedyText: self.proxy.opener.text),
            .init()
        )
    }
}

extension HTTPProxyHandler: SpliceFailureHandler {
    func splice(_ splice: SpliceHandler, didFailBeforeData reason: StreamEnd) -> Bool {
        guard case .forwarding(_, let target, _) = self.state else { return false }
        let failure = ProxyFailure.ended(reason)
        self.send(
            failure.httpStatus,
            FailurePage.html(failure, target: target, remedyText: self.proxy.opener.text),
            .init()
        )
        return true
    }
}
