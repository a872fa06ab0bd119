//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Logging
public import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// An HTTP/1.1 server with WebSocket upgrades on the same port.
public final class HTTPServer: Sendable {
    /// Where to listen and what to hold.
    public struct Configuration: Sendable {
        /// Name or address.
        public var host: String
        /// 0 takes a free one.
        public var port: Int
        /// Certificate and key; nil for plain HTTP.
        public var tls: ServerTLS?
        /// Most connections at once; more are closed at once.
        public var maximumConnections = 10_000
        /// Most connections at once from one address other than loopback.
        public var maximumConnectionsPerAddress = 64
        /// Most connections at once from a loopback address: generous, because there every user shares it.
        public var maximumLoopbackConnections = 8_192
        /// Proxies whose word is taken for who their clients are (X-Forwarded-For). Limits by address then count those.
        public var trustedProxies: [IPNetwork] = []
        /// Time for a request's head, and for the next request on a kept connection.
        public var requestTimeout: TimeAmount = .seconds(15)
        /// Of the WebSocket connections.
        public var webSocket = WebSocketConfiguration()
        /// Connections that the kernel holds while we are not accepting.
        public var backlog: Int32 = 1_024
        /// Bytes that may wait to be sent before a connection counts as not writable.
        public var highWaterMark = 1 << 20

        public init(host: String, port: Int) {
            self.host = host
            self.port = port
        }
    }

    /// Decides about an upgrade: the events of the connection, and a callback with the open socket.
    public struct WebSocketAcceptor: Sendable {
        /// What happens on the connection.
        public var events: WebSocket.Events
        /// The connection is open.
        public var onOpen: @Sendable (WebSocket) -> Void

        public init(events: WebSocket.Events, onOpen: @escaping @Sendable (WebSocket) -> Void) {
            self.events = events
            self.onOpen = onOpen
        }
    }

    public typealias Route = @Sendable (HTTPRequest) -> HTTPResponse
    /// Nil refuses the upgrade.
    public typealias Upgrade = @Sendable (HTTPRequest, any Channel) -> WebSocketAcceptor?

    private let channel: any Channel
    private let connections: ConnectionCounter

    /// The address that was bound.
    public let localAddress: SocketAddress

    private init(channel: any Channel, connections: ConnectionCounter, localAddress: SocketAddress) {
        self.channel = channel
        self.connections = connections
        self.localAddress = localAddress
    }

    /// Binds and serves.
    ///
    /// - Parameter group: Where connections run, spread over its loops.
    public static func start(
        _ configuration: Configuration,
        on group: any EventLoopGroup,
        logger: Logger,
        route: @escaping Route,
        upgrade: @escaping Upgrade
    ) async throws -> HTTPServer {
        let connections = ConnectionCounter(configuration)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: configuration.backlog)
            // A restart binds at once, whatever connections of the old process linger.
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
                        "connection refused: too many",
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

    /// What a connection has above TLS.
    package static func addHandlers(
        to channel: any Channel,
        _ configuration: Configuration,
        _ connections: ConnectionCounter,
        route: @escaping Route,
        upgrade: @escaping Upgrade
    ) throws {
        let handler = HTTPRequestHandler(timeout: configuration.requestTimeout, route: route)
        let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
        let acceptor = NIOLoopBoundBox<WebSocketAcceptor?>(nil, eventLoop: channel.eventLoop)
        let upgrader = NIOWebSocketServerUpgrader(
            maxFrameSize: configuration.webSocket.maximumMessageLength,
            automaticErrorHandling: false,
            shouldUpgrade: { channel, head in
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
                acceptor.value = accepted
                return channel.eventLoop.makeSucceededFuture([:])
            },
            upgradePipelineHandler: { channel, _ in
                channel.eventLoop.makeCompletedFuture {
                    guard let accepted = acceptor.value else { throw ChannelError.inappropriateOperationForState }
                    let socket = try WebSocket.attach(
                        to: channel,
                        configuration: configuration.webSocket,
                        isServer: true,
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

    /// Connections that are open now.
    public var connectionCount: Int { self.connections.count }

    /// Other limits, for connections to come.
    public func update(maximumConnections: Int, perAddress: Int) {
        self.connections.update(maximumConnections: maximumConnections, perAddress: perAddress)
    }

    /// Stops listening. Open connections go on.
    public func stopListening() async throws {
        try await self.channel.close()
    }

    /// Waits until the listening socket is closed.
    public func closed() async throws {
        try await self.channel.closeFuture.get()
    }
}
