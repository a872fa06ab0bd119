//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Logging
package import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// An HTTP/1.1 server that also accepts WebSocket upgrades on the same port.
package final class HTTPServer: Sendable {
    /// The listening address and the limits of a server.
    package struct Configuration: Sendable {
        /// Host name or IP address to listen on.
        package var host: String
        /// TCP port to listen on. 0 selects a free port.
        package var port: Int
        /// Certificate and key; nil for HTTP without TLS.
        package var tls: ServerTLS?
        /// Maximum number of concurrent connections. Further connections are closed immediately.
        package var maximumConnections = 10_000
        /// Maximum number of concurrent connections from one address that is not a loopback address.
        package var maximumConnectionsPerAddress = 64
        /// Maximum number of new connections from one address that is not a loopback address, per second and at once. Further
        /// ones are closed immediately. Nil for no limit.
        package var newConnectionsPerAddress: (perSecond: Int, burst: Int)?
        /// Maximum number of concurrent connections from one loopback address, which all local users share.
        package var maximumLoopbackConnections = 8_192
        /// Proxies whose X-Forwarded-For header field is trusted.
        ///
        /// The limits per address do not apply to a trusted proxy itself. They apply to the client that it names in a
        /// WebSocket upgrade.
        package var trustedProxies: [IPNetwork] = []
        /// Time allowed for a complete request, measured from the start of the connection or from the previous request.
        /// A slower connection is closed.
        package var requestTimeout: TimeAmount = .seconds(15)
        /// Limits and timers of WebSocket connections.
        package var webSocket = WebSocketConfiguration()
        /// Maximum number of connections that the kernel queues until the server accepts them.
        package var backlog: Int32 = 1_024
        /// Number of unsent bytes above which a connection is not writable. It is writable again below a quarter of
        /// this.
        package var highWaterMark = 1 << 20

        /// Creates a configuration with default limits, without TLS.
        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    /// The callbacks for a WebSocket connection that the server accepts.
    package struct WebSocketAcceptor: Sendable {
        /// Callbacks for messages and for the end of the connection.
        package var events: WebSocket.Events
        /// Called once, when the connection is open.
        package var onOpen: @Sendable (WebSocket) -> Void

        /// Accepts an upgrade with these callbacks.
        package init(events: WebSocket.Events, onOpen: @escaping @Sendable (WebSocket) -> Void) {
            self.events = events
            self.onOpen = onOpen
        }
    }

    /// Answers a request. Called on the event loop of the connection; it must not block.
    package typealias Route = @Sendable (HTTPRequest) -> HTTPResponse
    /// Accepts or rejects a WebSocket upgrade. Called on the event loop of the connection; it must not block.
    ///
    /// Return nil to close the connection without a response.
    package typealias Upgrade = @Sendable (HTTPRequest, any Channel) -> WebSocketAcceptor?

    private let channel: any Channel
    private let connections: ConnectionCounter

    /// The address that the server listens on.
    package let localAddress: SocketAddress

    private init(channel: any Channel, connections: ConnectionCounter, localAddress: SocketAddress) {
        self.channel = channel
        self.connections = connections
        self.localAddress = localAddress
    }

    /// Starts a server.
    ///
    /// - Parameters:
    ///   - configuration: The listening address and limits.
    ///   - group: Event loops of the connections.
    ///   - logger: Logs rejected connections at debug level.
    ///   - route: Answers requests that are not WebSocket upgrades.
    ///   - upgrade: Accepts or rejects WebSocket upgrades.
    /// - Throws: An error of the system if the server cannot listen on the address.
    package static func start(
        _ configuration: Configuration,
        on group: any EventLoopGroup,
        logger: Logger,
        route: @escaping Route,
        upgrade: @escaping Upgrade
    ) async throws -> HTTPServer {
        let connections = ConnectionCounter(configuration)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: configuration.backlog)
            // Allows a restart while connections of the old process are still in TIME_WAIT.
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.recvAllocator, value: WebSocketConfiguration.receiveAllocator)
            .childChannelOption(
                .writeBufferWaterMark,
                value: ChannelOptions.Types.WriteBufferWaterMark(
                    low: configuration.highWaterMark / 4,
                    high: configuration.highWaterMark
                )
            )
            .childChannelInitializer { channel in
                guard connections.admit(channel.remoteAddress) else {
                    logger.debug(
                        "connection rejected: connection limit reached",
                        metadata: ["peer": "\(channel.remoteAddress?.ipAddress ?? "-")"]
                    )
                    return channel.eventLoop.makeFailedFuture(ChannelError.eof)
                }
                let address = channel.remoteAddress
                channel.closeFuture.whenComplete { _ in connections.release(address) }
                return channel.eventLoop.makeCompletedFuture {
                    if let tls = configuration.tls {
                        try channel.pipeline.syncOperations.addHandler(tls.makeHandler())
                    }
                    try Self.addHandlers(to: channel, configuration, connections, route: route, upgrade: upgrade)
                }
            }
            .bind(host: configuration.host, port: configuration.port)
            .get()
        guard let address = channel.localAddress else {
            try await channel.close()
            throw ChannelError.unknownLocalAddress
        }
        return HTTPServer(channel: channel, connections: connections, localAddress: address)
    }

    /// Adds the HTTP and WebSocket handlers to a connection's pipeline. Add the TLS handler first.
    package static func addHandlers(
        to channel: any Channel,
        _ configuration: Configuration,
        _ connections: ConnectionCounter,
        route: @escaping Route,
        upgrade: @escaping Upgrade
    ) throws {
        let handler = HTTPRequestHandler(timeout: configuration.requestTimeout, route: route)
        let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        let acceptor = NIOLoopBoundBox<(WebSocketAcceptor, DeflateExtension?)?>(nil, eventLoop: channel.eventLoop)
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: configuration.webSocket.maximumMessageLength,
            automaticErrorHandling: false,
            shouldUpgrade: { channel, head in
                // The upgrade would wait for the end of the body. If that never came, its state would stay in memory.
                guard !head.hasBody else {
                    bound.value.refusal = .text(.badRequest, "A WebSocket upgrade request must not have a body.")
                    return channel.eventLoop.makeSucceededFuture(nil)
                }
                let client = connections.client(of: head, from: channel.remoteAddress)
                if let client {
                    guard connections.admit(forwarded: client) else {
                        bound.value.refusal = .text(.tooManyRequests, "Too many connections from your address.")
                        return channel.eventLoop.makeSucceededFuture(nil)
                    }
                    channel.closeFuture.whenComplete { _ in connections.release(forwarded: client) }
                }
                let request = HTTPRequest(head: head, remoteAddress: client ?? channel.remoteAddress)
                guard let accepted = upgrade(request, channel) else {
                    return channel.eventLoop.makeSucceededFuture(nil)
                }
                let deflate = configuration.webSocket.compresses ? DeflateExtension.accept(head.headers) : nil
                acceptor.value = (accepted, deflate?.accepted)
                let answer: HTTPHeaders = deflate.map { [DeflateExtension.header: $0.answer] } ?? [:]
                return channel.eventLoop.makeSucceededFuture(answer)
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    guard let (accepted, deflate) = acceptor.value else {
                        throw ChannelError.inappropriateOperationForState
                    }
                    let socket = try WebSocket.attach(
                        to: channel,
                        configuration: configuration.webSocket,
                        isServer: true,
                        deflate: deflate,
                        events: accepted.events
                    )
                    accepted.onOpen(socket)
                }
            }
        )
        try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withServerUpgrade: (
                upgraders: [upgrader],
                completionHandler: { context in
                    context.pipeline.syncOperations.removeHandler(bound.value, promise: nil)
                }
            )
        )
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    /// Number of open connections.
    package var connectionCount: Int { self.connections.count }

    /// Changes the connection limits. Open connections are not closed.
    ///
    /// - Parameters:
    ///   - maximumConnections: See ``Configuration/maximumConnections``.
    ///   - perAddress: See ``Configuration/maximumConnectionsPerAddress``.
    package func update(maximumConnections: Int, perAddress: Int) {
        self.connections.update(maximumConnections: maximumConnections, perAddress: perAddress)
    }

    /// Stops listening. Open connections stay open.
    package func stopListening() async throws {
        try await self.channel.close()
    }

    /// Waits until the listening socket is closed.
    package func closed() async throws {
        try await self.channel.closeFuture.get()
    }
}

extension HTTPRequestHead {
    /// Whether the header announces a body.
    fileprivate var hasBody: Bool {
        self.headers.contains(name: "Transfer-Encoding")
            || self.headers["Content-Length"].contains { $0 != "0" }
    }
}
