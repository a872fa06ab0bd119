//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
public import NIOCore
import NIOHTTP1
import NIOPosix
import Nostr

/// A Nostr relay on one port: WebSocket, and its information document over HTTP (NIP-01, NIP-11).
public final class RelayServer: Sendable {
    private let server: HTTPServer

    /// The address that was bound, and the URL under which it can be reached from there.
    public let localAddress: SocketAddress
    public let url: String

    private let tls: ServerTLS?

    private init(server: HTTPServer, _ configuration: RelayConfiguration) {
        self.server = server
        self.tls = configuration.tls
        self.localAddress = server.localAddress
        let host = server.localAddress.ipAddress ?? "127.0.0.1"
        let own =
            "\(configuration.tls == nil ? "ws" : "wss")://\(host.contains(":") ? "[\(host)]" : host):\(server.localAddress.port ?? 0)"
        self.url = configuration.publicURL?.text ?? own
    }

    /// Takes a renewed certificate for new connections.
    ///
    /// - Returns: False if TLS would have to begin or to end, which takes a restart.
    public func update(_ configuration: RelayConfiguration) -> Bool {
        guard (configuration.tls == nil) == (self.tls == nil) else { return false }
        if let renewed = configuration.tls { self.tls?.replace(with: renewed) }
        return true
    }

    /// Binds and serves on the loops of `group`.
    ///
    /// - Throws: The system's error if the port cannot be had.
    public static func start(
        _ configuration: RelayConfiguration,
        on group: any EventLoopGroup,
        logger: Logger
    ) async throws -> RelayServer {
        let metrics = RelayMetrics()
        let hub = RelayHub(limits: configuration.limits, metrics: metrics)
        var http = HTTPServer.Configuration(host: configuration.host, port: configuration.port)
        http.tls = configuration.tls
        http.maximumConnections = configuration.limits.connections
        http.maximumConnectionsPerAddress = configuration.limits.connectionsPerAddress
        http.webSocket.maximumMessageLength = configuration.limits.messageLength
        // The JSON scanner refuses what is not UTF-8.
        http.webSocket.validatesUTF8 = false
        let information = configuration.information.json
        let server = try await HTTPServer.start(
            http,
            on: group,
            logger: logger,
            route: { request in Self.answer(request, information: information) },
            upgrade: { request, channel in
                Self.accept(request, channel, configuration, hub: hub, metrics: metrics, logger: logger)
            }
        )
        return RelayServer(server: server, configuration)
    }

    private static func accept(
        _ request: HTTPRequest,
        _ channel: any Channel,
        _ configuration: RelayConfiguration,
        hub: RelayHub,
        metrics: RelayMetrics,
        logger: Logger
    ) -> HTTPServer.WebSocketAcceptor? {
        let outbox = RelayOutbox(
            eventLoop: channel.eventLoop,
            maximumBytes: configuration.limits.outboundBytes,
            metrics: metrics,
            logger: logger
        )
        let session = NIOLoopBound(
            RelayClientSession(
                configuration: configuration,
                hub: hub,
                metrics: metrics,
                clock: .system,
                outbox: outbox,
                host: configuration.publicURL?.authority ?? request.head.headers.first(name: "Host") ?? "",
                logger: logger
            ),
            eventLoop: channel.eventLoop
        )
        return HTTPServer.WebSocketAcceptor(
            events: WebSocket.Events(
                onMessage: { session.value.receive($0) },
                onClose: { reason in
                    session.value.close()
                    logger.debug("connection closed", metadata: ["reason": "\(reason)"])
                }
            ),
            onOpen: { socket in
                outbox.open(socket)
                session.value.open()
            }
        )
    }

    private static func answer(_ request: HTTPRequest, information: ByteBuffer) -> HTTPResponse {
        let cors: HTTPHeaders = [
            "Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*",
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        ]
        var response: HTTPResponse
        switch request.head.method {
        case .OPTIONS:
            response = HTTPResponse(status: .noContent, contentType: "text/plain", body: ByteBuffer())
        case .GET, .HEAD:
            let accept = request.head.headers[canonicalForm: "Accept"].joined(separator: ",")
            if accept.contains("application/nostr+json") {
                response = HTTPResponse(status: .ok, contentType: "application/nostr+json", body: information)
            } else if request.path == "/" {
                response = .text(.ok, "This is a Nostr relay. Connect with a Nostr client over WebSocket.")
            } else {
                response = .text(.notFound, "Nothing here; this is a Nostr relay.")
            }
        default:
            response = .text(.methodNotAllowed, "GET, HEAD or OPTIONS.")
        }
        response.headers.add(contentsOf: cors)
        return response
    }

    /// Connections that are open now.
    public var connectionCount: Int { self.server.connectionCount }

    /// Stops listening. Connections end with their loops.
    public func stop() async throws {
        try await self.server.stopListening()
    }
}
