//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import NIOHTTP1
import NostrCrypto
import TunnelProtocol

/// One client of the HTTP proxy: CONNECT, or a request in absolute form (RFC 9110, section 9.3.6; RFC 9112, section 3.2.2).
///
/// After CONNECT the splice has the connection. A plain request goes on in origin form, one for each connection: both ends
/// are told to close it, and what a client sends behind its request goes nowhere.
final class HTTPProxyHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case waiting
        /// The stream is being opened; for a plain request with the head to send first.
        case opening(StreamOpening, plain: HTTPProxyRequest.Plain?)
        /// The decoder is being removed; what it had left comes as bytes.
        case handingOver(StreamOpening)
        /// The parts of a plain request go to the splice.
        case forwarding(HTTPProxyRequest.Plain)
        /// A response of our own is going out, or it is over.
        case done
    }

    /// Most bytes of a body that wait while the stream opens: one read of the socket, and never this much.
    private static let maximumEarlyParts = 1_024

    private let decoder: ByteToMessageHandler<HTTPRequestDecoder>
    private let core: EntryCore
    private let logger: Logger
    private var state = State.waiting
    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var earlyParts: [HTTPServerRequestPart] = []
    private var leftover = ByteBuffer()
    private var inputIsClosed = false

    init(decoder: ByteToMessageHandler<HTTPRequestDecoder>, core: EntryCore, logger: Logger) {
        self.decoder = decoder
        self.core = core
        self.logger = logger
    }

    // MARK: Socket

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.core.configuration.handshakeTimeout) {
            channel.close(promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.state {
        case .waiting:
            if case .head(let head) = Self.unwrapInboundIn(data) { self.receive(head) }
        case .opening(let opening, let plain):
            guard plain != nil else { return }
            guard self.earlyParts.count < Self.maximumEarlyParts else {
                opening.abandon()
                self.refuse(.payloadTooLarge, "", .init())
                return
            }
            self.earlyParts.append(Self.unwrapInboundIn(data))
        case .handingOver:
            // Bytes, not parts: the decoder gives up what it did not decode.
            self.leftover.writeImmutableBuffer(SpliceHandler.unwrapInboundIn(data))
        case .forwarding(let plain):
            if let bytes = self.bytes(of: Self.unwrapInboundIn(data), plain) {
                context.fireChannelRead(Self.wrapInboundOut(bytes))
            }
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
            context.close(promise: nil)
            return
        }
        self.core.metrics.handshakeFailed(.malformed)
        self.refuse(.badRequest, "This is not an HTTP request.", .init())
    }

    private func abandon() {
        self.timer?.cancel()
        switch self.state {
        case .opening(let opening, _), .handingOver(let opening): opening.abandon()
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
            self.serveOwn(path, head)
            return
        } catch {
            self.core.metrics.handshakeFailed(.malformed)
            self.refuse(.badRequest, error.text, .init())
            return
        }
        if let required = self.core.configuration.credentials,
            request.credentials.map({ required.matches($0) }) != true
        {
            self.core.metrics.handshakeFailed(.wrongCredentials)
            self.refuse(
                .proxyAuthenticationRequired,
                "This proxy wants a user and a password.",
                ["Proxy-Authenticate": "Basic realm=\"nws\""]
            )
            return
        }
        self.timer?.cancel()
        let opening = StreamOpening(
            ProxyRequest(request.target, credentials: request.credentials),
            core: self.core,
            logger: self.logger,
            onOpened: { self.opened() },
            onFailed: { self.fail($0, request.target) }
        )
        self.state = .opening(opening, plain: request.plain)
        opening.start()
    }

    private func opened() {
        guard case .opening(let opening, let plain) = self.state, let context = self.context else { return }
        if let plain {
            self.begin(plain, opening, context)
            return
        }
        self.state = .handingOver(opening)
        self.write("HTTP/1.1 200 Connection established\r\n\r\n")
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.pipeline.syncOperations.removeHandler(self.decoder).whenComplete { _ in bound.value.handOver() }
    }

    /// The tunnel of CONNECT: everything from here on is the client's and the service's.
    private func handOver() {
        guard case .handingOver(let opening) = self.state, let context = self.context else { return }
        self.state = .done
        opening.join(context, leftover: self.leftover, inputIsClosed: self.inputIsClosed)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    // MARK: Plain requests

    private func begin(
        _ plain: HTTPProxyRequest.Plain,
        _ opening: StreamOpening,
        _ context: ChannelHandlerContext
    ) {
        self.state = .forwarding(plain)
        var leftover = plain.head
        for part in self.earlyParts {
            guard var bytes = self.bytes(of: part, plain) else { break }
            leftover.writeBuffer(&bytes)
        }
        self.earlyParts = []
        opening.join(context, leftover: leftover, inputIsClosed: self.inputIsClosed)
    }

    /// The bytes that go on for a part of the request; nil for what does not belong to it any more.
    private func bytes(of part: HTTPServerRequestPart, _ plain: HTTPProxyRequest.Plain) -> ByteBuffer? {
        guard case .forwarding = self.state else { return nil }
        switch part {
        case .head:
            // A second request on the connection. Its answer would not come: the first one's closes it.
            self.state = .done
            return nil
        case .body(let bytes): return plain.encoded(bytes)
        case .end: return plain.encodedEnd
        }
    }

    // MARK: Responses of our own

    private func fail(_ failure: ProxyFailure, _ target: TargetAddress) {
        self.respond(failure.httpStatus, FailurePage.html(failure, target: target), .init())
    }

    private func refuse(_ status: HTTPResponseStatus, _ text: String, _ headers: HTTPHeaders) {
        self.respond(status, FailurePage.html(status: status, text: text), headers)
    }

    private func serveOwn(_ path: String, _ head: HTTPRequestHead) {
        let own = ProxyAutoConfiguration.address(head.headers.first(name: "Host"), self.context?.channel.localAddress)
        switch path {
        case "/proxy.pac":
            self.respond(
                .ok,
                ProxyAutoConfiguration.script(proxy: own),
                ["Content-Type": "application/x-ns-proxy-autoconfig"]
            )
        default:
            self.refuse(
                path == "/" ? .ok : .notFound,
                "This is a proxy to .nostr names. Use \(own) as SOCKS5 or HTTP proxy, or let a browser fetch its settings from http://\(own)/proxy.pac.",
                .init()
            )
        }
    }

    private func respond(_ status: HTTPResponseStatus, _ body: String, _ extra: HTTPHeaders) {
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
        // The client closes; whoever does not is not waited for.
        _ = context.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(promise: nil) }
        context.read()
    }

    private func write(_ text: String) {
        self.context?.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
    }
}
