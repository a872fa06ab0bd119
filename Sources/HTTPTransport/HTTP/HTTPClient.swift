//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NIOHTTP1
import NIOPosix

/// A minimal HTTP/1.1 client for small documents, such as the information document of a relay (NIP-11).
///
/// Each request uses a new connection. Redirects are not followed.
package enum HTTPClient {
    /// Value of the User-Agent header field.
    static let userAgent = "nws"
    /// Maximum size of a response body in bytes.
    package static let maximumBodyLength = 128 << 10
    /// Timeout for a whole request, from connecting to the end of the body.
    package static let timeout: TimeAmount = .seconds(10)

    /// Why a request failed.
    package enum RequestError: Error, Sendable {
        /// The server answered with this HTTP status instead of 200.
        case status(Int)
        /// The body is longer than ``HTTPClient/maximumBodyLength``.
        case bodyTooLong
        /// The request took longer than ``HTTPClient/timeout``.
        case timedOut
        /// The server closed the connection before the response was complete.
        case connectionClosed
    }

    /// Sends a GET request to the first address of a target that answers (RFC 8305).
    ///
    /// - Parameters:
    ///   - target: The server and the resource to request.
    ///   - accept: Value of the Accept header field.
    ///   - eventLoop: Event loop of the connection.
    /// - Returns: The response, if its status is 200. Fails with ``RequestError`` or with the error of the connection.
    package static func get(
        _ target: WebSocketClient.Target,
        accept: String,
        on eventLoop: any EventLoop
    ) -> EventLoopFuture<HTTPResponse> {
        guard !target.addresses.isEmpty else {
            return eventLoop.makeFailedFuture(WebSocketClient.ConnectError.noAddress)
        }
        let promise = eventLoop.makePromise(of: HTTPResponse.self)
        let connection = ClientBootstrap(group: eventLoop)
            .connectTimeout(WebSocketClient.connectTimeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let operations = channel.pipeline.syncOperations
                    try operations.addHandler(ConnectedHandler())
                    try target.addProxy(to: operations)
                    try target.addTLS(to: operations)
                    try operations.addHTTPClientHandlers()
                    try operations.addHandler(GetHandler(target: target, accept: accept, promise: promise))
                }
            }
            .connect(toFirstOf: target.addresses, on: eventLoop)
        connection.whenComplete { result in
            switch result {
            case .success(let channel): ConnectedHandler.start(channel)
            case .failure(let error): promise.fail(error)
            }
        }
        let timer = eventLoop.scheduleTask(in: Self.timeout) { promise.fail(RequestError.timedOut) }
        promise.futureResult.whenComplete { _ in
            timer.cancel()
            connection.whenSuccess { $0.close(promise: nil) }
        }
        return promise.futureResult
    }

    private final class GetHandler: ChannelInboundHandler {
        typealias InboundIn = HTTPClientResponsePart
        typealias OutboundOut = HTTPClientRequestPart

        private let target: WebSocketClient.Target
        private let accept: String
        private let promise: EventLoopPromise<HTTPResponse>
        private var headers = HTTPHeaders()
        private var body = ByteBuffer()

        init(target: WebSocketClient.Target, accept: String, promise: EventLoopPromise<HTTPResponse>) {
            self.target = target
            self.accept = accept
            self.promise = promise
        }

        func channelActive(context: ChannelHandlerContext) {
            let headers: HTTPHeaders = [
                "Host": self.target.authority, "Accept": self.accept, "User-Agent": HTTPClient.userAgent,
                "Connection": "close",
            ]
            let head = HTTPRequestHead(
                version: .http1_1,
                method: .GET,
                uri: self.target.requestTarget,
                headers: headers
            )
            context.write(Self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch Self.unwrapInboundIn(data) {
            case .head(let head):
                self.headers = head.headers
                if head.status != .ok { self.fail(context, RequestError.status(Int(head.status.code))) }
            case .body(var part):
                self.body.writeBuffer(&part)
                if self.body.readableBytes > HTTPClient.maximumBodyLength {
                    self.fail(context, RequestError.bodyTooLong)
                }
            case .end:
                self.promise.succeed(HTTPResponse(status: .ok, headers: self.headers, body: self.body))
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            self.promise.fail(RequestError.connectionClosed)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.fail(context, error)
        }

        private func fail(_ context: ChannelHandlerContext, _ error: any Error) {
            self.promise.fail(error)
            context.close(promise: nil)
        }
    }
}
