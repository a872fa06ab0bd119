//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import NIOHTTP1
import NIOPosix
public import NIOSSL
import NIOWebSocket

/// Opens WebSocket connections.
public enum WebSocketClient {
    /// Where to connect and what to ask for.
    public struct Target: Sendable {
        /// Checked addresses, tried in order.
        public var addresses: [SocketAddress]
        /// Name or address, for the certificate and its indication (SNI).
        public var host: String
        /// The Host field.
        public var authority: String
        /// Path and query.
        public var requestTarget: String
        /// The proxy to which ``addresses`` belong, and the port that it is asked for; nil to connect at once.
        public var proxy: (SOCKS5Proxy, port: Int)?
        /// Nil for a connection without TLS.
        public var tls: NIOSSLContext?

        public init(
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

    /// Why no connection came about.
    public enum ConnectError: Error, Sendable, CustomStringConvertible {
        /// The server answered the handshake with another status.
        case refused(status: Int)
        /// The server closed or took too long during the handshake.
        case handshakeFailed(String)
        /// No address to try.
        case noAddress
        /// There is no TLS where it was expected, or none that can be trusted.
        case tls(String)

        /// What went wrong in a handshake, in words.
        init(_ error: any Error) {
            // Neither library has cases for these.
            let text = "\(error)"
            self =
                if text.contains("CERTIFICATE_VERIFY_FAILED") {
                    .tls("the server's certificate is not trusted (--ca-file)")
                } else if text.contains("WRONG_VERSION_NUMBER") {
                    .tls("what answers speaks no TLS; is it ws:// instead of wss://?")
                } else if error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError {
                    .tls("the TLS handshake failed")
                } else if error is HTTPParserError {
                    .handshakeFailed("what answers is no HTTP server")
                } else {
                    .handshakeFailed(text)
                }
        }

        public var description: String {
            switch self {
            case .tls(let what): what
            case .refused(let status): "no WebSocket there: the server answered \(status)"
            case .handshakeFailed(let what): "WebSocket handshake failed: \(what)"
            case .noAddress: "no address"
            }
        }
    }

    /// Longest time for the TCP connection to one address, and for the handshakes after it.
    public static let connectTimeout: TimeAmount = .seconds(10)

    /// Connects on `eventLoop`; `events` are called there.
    public static func connect(
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
                // A server that answered is not asked again at its other address.
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
            promise.fail(ConnectError.handshakeFailed("no answer in time"))
        }
        promise.futureResult.whenComplete { _ in timeout.cancel() }
        return promise.futureResult
    }

    /// What a connection has above TLS, up to the answer to the handshake.
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
        // Some relays send their AUTH challenge in the segment that ends the handshake.
        let operations = channel.pipeline.syncOperations
        try operations.addHTTPClientHandlers(leftOverBytesStrategy: .forwardBytes, withClientUpgrade: upgrade)
        try operations.addHandler(handler)
    }
}
