//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NIOHTTP1
import NIOPosix
package import NIOSSL
import NIOWebSocket

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Opens client WebSocket connections over TCP, with optional TLS and SOCKS5 proxy.
package enum WebSocketClient {
    /// The server to connect to and the resource to request.
    package struct Target: Sendable {
        /// Addresses to connect to. The first that answers is used (RFC 8305). The caller has checked that connecting to them is allowed.
        package var addresses: [SocketAddress]
        /// Name or IP address of the server. Used for the SOCKS5 request, for certificate verification, and, if it is a
        /// name, for TLS server name indication (SNI).
        package var host: String
        /// Value of the Host header field.
        package var authority: String
        /// Path and query of the request.
        package var requestTarget: String
        /// SOCKS5 proxy, and the server port that it should connect to. ``addresses`` are then those of the proxy. Nil
        /// to connect directly.
        package var proxy: (SOCKS5Proxy, port: Int)?
        /// TLS settings; nil for a connection without TLS.
        package var tls: NIOSSLContext?

        /// Creates a target without a proxy.
        package init(
            addresses: [SocketAddress],
            host: String,
            authority: String,
            requestTarget: String,
            tls: NIOSSLContext?
        ) {
            self.addresses = addresses
            self.host = host
            self.authority = authority
            self.requestTarget = requestTarget
            self.tls = tls
        }
    }

    /// Why a connection could not be established.
    package enum ConnectError: Error, Sendable, CustomStringConvertible {
        /// The server did not accept the WebSocket upgrade.
        ///
        /// - Parameters:
        ///   - status: The HTTP status of its response.
        ///   - retryAfter: When the server allows the next attempt (RFC 9110, section 10.2.3). Nil if it did not say.
        case refused(status: Int, retryAfter: TimeAmount?)
        /// The connection ended, failed or timed out during the handshake. The value describes what happened.
        case handshakeFailed(String)
        /// The handshake was not complete in time.
        case timedOut
        /// The target has no addresses.
        case noAddress
        /// The TLS handshake failed. The value describes what happened.
        case tls(String)

        /// Converts an error of the TLS or HTTP library.
        package init(_ error: any Error) {
            // NIOSSL and BoringSSL have no error cases for these, so their text is matched.
            let text = "\(error)"
            self =
                if text.contains("CERTIFICATE_VERIFY_FAILED") {
                    .tls("the server's certificate is not trusted: not valid now, or not issued by a trusted authority")
                } else if text.contains("WRONG_VERSION_NUMBER") {
                    .tls("the server did not answer with TLS; check whether its URL should be ws://")
                } else if error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError {
                    .tls("the TLS handshake failed")
                } else if error is HTTPParserError {
                    .handshakeFailed("the server did not answer with HTTP")
                } else {
                    .handshakeFailed(text)
                }
        }

        /// An error message.
        package var description: String {
            switch self {
            case .tls(let what): what
            case .refused(let status, _) where (200..<300).contains(status):
                "not a Nostr relay: HTTP \(status) instead of a WebSocket upgrade"
            case .refused(let status, let wait?):
                "WebSocket upgrade failed: the server answered with HTTP \(status), and allows another attempt after \(wait.nanoseconds / 1_000_000_000) s"
            case .refused(let status, nil): "WebSocket upgrade failed: the server answered with HTTP \(status)"
            case .handshakeFailed(let what): "WebSocket handshake failed: \(what)"
            case .timedOut: "WebSocket handshake failed: timed out"
            case .noAddress: "the server has no address to connect to"
            }
        }
    }

    /// Timeout for the TCP connection, for all addresses of the server together.
    ///
    /// The connection and the handshakes of the proxy, TLS and WebSocket together time out after twice this.
    package static let connectTimeout: TimeAmount = .seconds(10)
    /// Maximum number of bytes that wait in the kernel to be sent for the first time (`TCP_NOTSENT_LOWAT`).
    ///
    /// Bytes in the kernel can no longer be overtaken by a more urgent message. TCP's own window does not count.
    private static let unsent: SocketOptionValue = 16 << 10
    /// Marks for the bytes that wait above the kernel. Beyond the upper one, nothing more is written until they fall below
    /// the lower one.
    private static let sendBuffer = ChannelOptions.Types.WriteBufferWaterMark(low: 8 << 10, high: 32 << 10)

    /// Connects to the first address of `target` that accepts a TCP connection (RFC 8305), and performs the
    /// WebSocket handshake.
    ///
    /// - Parameters:
    ///   - target: The server to connect to.
    ///   - eventLoop: Event loop of the connection. `events` are called on it.
    ///   - configuration: Limits and timers of the connection.
    ///   - events: Callbacks for the connection.
    ///   - onConnect: Called when the TCP connection is established.
    /// - Returns: The open connection. Fails with ``ConnectError``, ``SOCKS5Proxy/Failure``, or the error of the last
    ///   TCP connection attempt.
    package static func connect(
        to target: Target,
        on eventLoop: any EventLoop,
        configuration: WebSocketConfiguration,
        events: WebSocket.Events,
        onConnect: @escaping @Sendable () -> Void = {}
    ) -> EventLoopFuture<WebSocket> {
        guard !target.addresses.isEmpty else { return eventLoop.makeFailedFuture(ConnectError.noAddress) }
        let promise = eventLoop.makePromise(of: WebSocket.self)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: WebSocketConfiguration.receiveAllocator)
            .channelOption(.writeBufferWaterMark, value: Self.sendBuffer)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    #if os(Linux)
                    try channel.syncOptions?.setOption(
                        .tcpOption(.init(rawValue: TCP_NOTSENT_LOWAT)),
                        value: Self.unsent
                    )
                    #endif
                    let operations = channel.pipeline.syncOperations
                    try operations.addHandler(ConnectedHandler())
                    try target.addProxy(to: operations)
                    try target.addTLS(to: operations)
                    try Self.addHandlers(
                        to: channel,
                        target: target,
                        configuration: configuration,
                        events: events,
                        promise: promise
                    )
                }
            }
        let connection = bootstrap.connect(toFirstOf: target.addresses, on: eventLoop)
        connection.whenComplete { result in
            switch result {
            case .success(let channel):
                onConnect()
                ConnectedHandler.start(channel)
            case .failure(let error): promise.fail(error)
            }
        }
        promise.futureResult.whenFailure { _ in connection.whenSuccess { $0.close(promise: nil) } }
        let timeout = eventLoop.scheduleTask(in: Self.connectTimeout + Self.connectTimeout) {
            promise.fail(ConnectError.timedOut)
        }
        promise.futureResult.whenComplete { _ in timeout.cancel() }
        return promise.futureResult
    }

    /// Adds the handlers that send the upgrade request and wait for the response. If TLS is used, add its handler
    /// first.
    package static func addHandlers(
        to channel: any Channel,
        target: Target,
        configuration: WebSocketConfiguration,
        events: WebSocket.Events,
        promise: EventLoopPromise<WebSocket>
    ) throws {
        let upgrader = NIOWebSocketClientUpgrader(
            maxFrameSize: configuration.maximumMessageLength,
            automaticErrorHandling: false
        ) { channel, response in
            channel.eventLoop.makeCompletedFuture {
                let deflate: DeflateExtension?
                do {
                    deflate = try configuration.compresses ? DeflateExtension.accepted(response.headers) : nil
                } catch {
                    promise.fail(
                        ConnectError.handshakeFailed(
                            "the server's answer has an invalid Sec-WebSocket-Extensions field"
                        )
                    )
                    throw error
                }
                let socket = try WebSocket.attach(
                    to: channel,
                    configuration: configuration,
                    isServer: false,
                    deflate: deflate,
                    events: events
                )
                promise.succeed(socket)
            }
        }
        let handler = WebSocketRequestHandler(target: target, compresses: configuration.compresses, promise: promise)
        let request = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        let upgrade: NIOHTTPClientUpgradeConfiguration = (
            upgraders: [upgrader],
            completionHandler: { context in
                context.pipeline.syncOperations.removeHandler(request.value, promise: nil)
            }
        )
        // Some relays send their AUTH challenge together with the handshake response. Forward the remaining bytes to
        // the WebSocket handlers.
        let operations = channel.pipeline.syncOperations
        try operations.addHTTPClientHandlers(leftOverBytesStrategy: .forwardBytes, withClientUpgrade: upgrade)
        try operations.addHandler(handler)
    }
}
