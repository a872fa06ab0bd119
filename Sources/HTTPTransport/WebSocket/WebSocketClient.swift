//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NIOHTTP1
import NIOPosix
package import NIOSSL
import NIOWebSocket

/// Opens client WebSocket connections over TCP, with optional TLS and SOCKS5 proxy.
package enum WebSocketClient {
    /// The server to connect to and the resource to request.
    package struct Target: Sendable {
        /// Addresses to connect to, tried in order. The caller has checked that connecting to them is allowed.
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
        /// The server did not accept the WebSocket upgrade. The value is the HTTP status of its response.
        case refused(status: Int)
        /// The connection ended, failed or timed out during the handshake. The value describes what happened.
        case handshakeFailed(String)
        /// The target has no addresses.
        case noAddress
        /// The TLS handshake failed. The value describes what happened.
        case tls(String)

        /// Converts an error of the TLS or HTTP library.
        init(_ error: any Error) {
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
            case .refused(let status) where (200..<300).contains(status):
                "not a Nostr relay: HTTP \(status) instead of a WebSocket upgrade"
            case .refused(let status): "WebSocket upgrade failed: the server answered with HTTP \(status)"
            case .handshakeFailed(let what): "WebSocket handshake failed: \(what)"
            case .noAddress: "the server has no address to connect to"
            }
        }
    }

    /// Timeout for the TCP connection to one address.
    ///
    /// The connection and the handshakes of the proxy, TLS and WebSocket together time out after twice this.
    package static let connectTimeout: TimeAmount = .seconds(10)

    /// Connects to the first address of `target` that accepts a TCP connection, and performs the WebSocket handshake.
    ///
    /// - Parameters:
    ///   - target: The server to connect to.
    ///   - eventLoop: Event loop of the connection. `events` are called on it.
    ///   - configuration: Limits and timers of the connection.
    ///   - events: Callbacks for the connection.
    /// - Returns: The open connection. Fails with ``ConnectError``, ``SOCKS5Proxy/Failure``, or the error of the last
    ///   TCP connection attempt.
    package static func connect(
        to target: Target,
        on eventLoop: any EventLoop,
        configuration: WebSocketConfiguration,
        events: WebSocket.Events
    ) -> EventLoopFuture<WebSocket> {
        guard let first = target.addresses.first else {
            return eventLoop.makeFailedFuture(ConnectError.noAddress)
        }
        var attempt = Self.connect(
            to: target,
            address: first,
            on: eventLoop,
            configuration: configuration,
            events: events
        )
        for address in target.addresses.dropFirst() {
            attempt = attempt.flatMapError { error in
                // The next address is tried only if the TCP connection failed. After a failed handshake the server was
                // reached, so another address would not help.
                if error is ConnectError || error is SOCKS5Proxy.Failure { return eventLoop.makeFailedFuture(error) }
                return Self.connect(
                    to: target,
                    address: address,
                    on: eventLoop,
                    configuration: configuration,
                    events: events
                )
            }
        }
        return attempt
    }

    private static func connect(
        to target: Target,
        address: SocketAddress,
        on eventLoop: any EventLoop,
        configuration: WebSocketConfiguration,
        events: WebSocket.Events
    ) -> EventLoopFuture<WebSocket> {
        let promise = eventLoop.makePromise(of: WebSocket.self)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(Self.connectTimeout)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: WebSocketConfiguration.receiveAllocator)
            .channelOption(
                .writeBufferWaterMark,
                value: ChannelOptions.Types.WriteBufferWaterMark(low: 256 << 10, high: 1 << 20)
            )
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let operations = channel.pipeline.syncOperations
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
        let connection = bootstrap.connect(to: address)
        connection.whenFailure { promise.fail($0) }
        promise.futureResult.whenFailure { _ in connection.whenSuccess { $0.close(promise: nil) } }
        let timeout = eventLoop.scheduleTask(in: Self.connectTimeout + Self.connectTimeout) {
            promise.fail(ConnectError.handshakeFailed("timed out"))
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
        ) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                let socket = try WebSocket.attach(
                    to: channel,
                    configuration: configuration,
                    isServer: false,
                    events: events
                )
                promise.succeed(socket)
            }
        }
        let handler = WebSocketRequestHandler(target: target, promise: promise)
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
