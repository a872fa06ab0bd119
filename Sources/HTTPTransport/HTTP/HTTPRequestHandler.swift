//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1

/// Answers the HTTP requests of one connection that are not accepted as WebSocket upgrades.
///
/// It closes the connection if a complete request does not arrive within the timeout.
final class HTTPRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Maximum size of a request body in bytes. Bodies are discarded; a longer one closes the connection.
    private static let maximumSkippedBody = 64 << 10

    private let timeout: TimeAmount
    private let route: HTTPServer.Route
    private var head: HTTPRequestHead?
    private var skippedBody = 0
    private var timer: Scheduled<Void>?
    /// Response to a rejected upgrade, sent instead of the response of the route.
    var refusal: HTTPResponse?

    init(timeout: TimeAmount, route: @escaping HTTPServer.Route) {
        self.timeout = timeout
        self.route = route
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.armTimer(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer?.cancel()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch Self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.skippedBody = 0
        case .body(let part):
            self.skippedBody += part.readableBytes
            if self.skippedBody > Self.maximumSkippedBody { context.close(promise: nil) }
        case .end:
            guard let head = self.head else { return }
            self.head = nil
            self.answer(context, head)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIO reports a rejected upgrade as an error and then delivers the request as an ordinary one. Keep the
        // connection open to send the response.
        guard self.refusal == nil else { return }
        context.close(promise: nil)
    }

    private func armTimer(_ context: ChannelHandlerContext) {
        self.timer?.cancel()
        let channel = context.channel
        self.timer = context.eventLoop.scheduleTask(in: self.timeout) { channel.close(promise: nil) }
    }

    private func answer(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) {
        // Disconnect a client that sends requests without reading the responses.
        guard context.channel.isWritable else {
            context.close(promise: nil)
            return
        }
        self.armTimer(context)
        var response =
            self.refusal ?? self.route(HTTPRequest(head: head, remoteAddress: context.channel.remoteAddress))
        self.refusal = nil
        response.headers.replaceOrAdd(name: "Date", value: HTTPDate.now)
        response.headers.replaceOrAdd(name: "Content-Length", value: String(response.body.readableBytes))
        let keepsAlive = head.isKeepAlive
        response.headers.replaceOrAdd(name: "Connection", value: keepsAlive ? "keep-alive" : "close")
        let responseHead = HTTPResponseHead(
            version: head.version,
            status: response.status,
            headers: response.headers
        )
        context.write(Self.wrapOutboundOut(.head(responseHead)), promise: nil)
        if head.method != .HEAD {
            context.write(Self.wrapOutboundOut(.body(.byteBuffer(response.body))), promise: nil)
        }
        let channel = context.channel
        let promise = keepsAlive ? nil : context.eventLoop.makePromise(of: Void.self)
        promise?.futureResult.whenComplete { _ in channel.close(promise: nil) }
        context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: promise)
    }
}
