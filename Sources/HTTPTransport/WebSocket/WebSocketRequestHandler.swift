//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOHTTP1

/// Sends the request for a WebSocket, and fails `promise` if the server does not accept it.
///
/// NIO's upgrade handler, which comes before this one in the pipeline, adds the header fields of the upgrade. If the
/// server accepts, it removes this handler, so any response that arrives here is a refusal.
final class WebSocketRequestHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let target: WebSocketClient.Target
    private let compresses: Bool
    private let promise: EventLoopPromise<WebSocket>

    init(target: WebSocketClient.Target, compresses: Bool, promise: EventLoopPromise<WebSocket>) {
        self.compresses = compresses
        self.target = target
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        var headers = HTTPHeaders()
        headers.add(name: "Host", value: self.target.authority)
        headers.add(name: "User-Agent", value: HTTPClient.userAgent)
        if self.compresses { headers.add(name: DeflateExtension.header, value: DeflateExtension.offer) }
        let head = HTTPRequestHead(
            version: .http1_1,
            method: .GET,
            uri: self.target.requestTarget,
            headers: headers
        )
        context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(let head) = Self.unwrapInboundIn(data) else { return }
        self.promise.fail(
            WebSocketClient.ConnectError.refused(
                status: Int(head.status.code),
                retryAfter: RetryAfter.wait(head.headers)
            )
        )
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.promise.fail(WebSocketClient.ConnectError.handshakeFailed("the server closed the connection"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.promise.fail(
            error is SOCKS5Proxy.Failure ? error : WebSocketClient.ConnectError(error)
        )
        context.close(promise: nil)
    }
}
