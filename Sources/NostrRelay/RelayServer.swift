//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
import NIOConcurrencyHelpers
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
    private let hub: RelayHub
    private let archive: EventArchive?
    private let settings: Settings

    /// What connections to come are given.
    private final class Settings: Sendable {
        let configuration: NIOLockedValueBox<RelayConfiguration>
        let information: NIOLockedValueBox<ByteBuffer>

        init(_ configuration: RelayConfiguration) {
            self.configuration = NIOLockedValueBox(configuration)
            self.information = NIOLockedValueBox(configuration.information.json)
        }
    }

    private init(server: HTTPServer, hub: RelayHub, archive: EventArchive?, settings: Settings) {
        let configuration = settings.configuration.withLockedValue { $0 }
        self.server = server
        self.hub = hub
        self.archive = archive
        self.settings = settings
        self.tls = configuration.tls
        self.localAddress = server.localAddress
        let host = server.localAddress.ipAddress ?? "127.0.0.1"
        let own =
            "\(configuration.tls == nil ? "ws" : "wss")://\(host.contains(":") ? "[\(host)]" : host):\(server.localAddress.port ?? 0)"
        self.url = configuration.publicURL?.text ?? own
    }

    /// Takes a renewed certificate, other limits and what is said of the relay, for new connections.
    ///
    /// - Returns: False if TLS would have to begin or to end, which takes a restart.
    public func update(_ configuration: RelayConfiguration) -> Bool {
        guard (configuration.tls == nil) == (self.tls == nil) else { return false }
        if let renewed = configuration.tls { self.tls?.replace(with: renewed) }
        self.settings.configuration.withLockedValue { current in
            current.limits = configuration.limits
            current.name = configuration.name
            current.acceptedKinds = configuration.acceptedKinds
        }
        self.settings.information.withLockedValue { $0 = configuration.information.json }
        self.server.update(
            maximumConnections: configuration.limits.connections,
            perAddress: configuration.limits.connectionsPerAddress
        )
        self.hub.update(configuration.limits)
        return true
    }

    /// Binds and serves on the loops of `group`.
    ///
    /// - Throws: The system's error if the port cannot be had, or what is wrong with the store.
    public static func start(
        _ configuration: RelayConfiguration,
        on group: any EventLoopGroup,
        logger: Logger
    ) async throws -> RelayServer {
        let metrics = RelayMetrics()
        let archive = try configuration.storePath.map { try EventArchive(path: $0, logger: logger) }
        let hub = RelayHub(limits: configuration.limits, metrics: metrics, archive: archive)
        if let archive {
            let count = hub.restore(try archive.load())
            logger.info("store opened", metadata: ["events": "\(count)"])
        }
        let settings = Settings(configuration)
        let team = VerificationTeam(group)
        var http = HTTPServer.Configuration(host: configuration.host, port: configuration.port)
        http.tls = configuration.tls
        http.maximumConnections = configuration.limits.connections
        http.maximumConnectionsPerAddress = configuration.limits.connectionsPerAddress
        http.trustedProxies = configuration.trustedProxies
        http.webSocket.maximumMessageLength = configuration.limits.messageLength
        // The JSON scanner refuses what is not UTF-8.
        http.webSocket.validatesUTF8 = false
        let server = try await HTTPServer.start(
            http,
            on: group,
            logger: logger,
            route: { request in Self.answer(request, information: settings.information.withLockedValue { $0 }) },
            upgrade: { request, channel in
                Self.accept(
                    request,
                    channel,
                    settings.configuration.withLockedValue { $0 },
                    hub: hub,
                    team: team,
                    metrics: metrics,
                    logger: logger
                )
            }
        )
        return RelayServer(server: server, hub: hub, archive: archive, settings: settings)
    }

    private static func accept(
        _ request: HTTPRequest,
        _ channel: any Channel,
        _ configuration: RelayConfiguration,
        hub: RelayHub,
        team: VerificationTeam,
        metrics: RelayMetrics,
        logger: Logger
    ) -> HTTPServer.WebSocketAcceptor? {
        let outbox = RelayOutbox(
            eventLoop: channel.eventLoop,
            peer: request.remoteAddress?.ipAddress ?? "-",
            maximumBytes: configuration.limits.outboundBytes,
            metrics: metrics,
            logger: logger
        )
        let session = NIOLoopBound(
            RelayClientSession(
                configuration: configuration,
                hub: hub,
                loop: channel.eventLoop,
                team: team,
                metrics: metrics,
                clock: .system,
                outbox: outbox,
                host: configuration.publicURL?.authority ?? request.head.headers.first(name: "Host") ?? "",
                logger: logger
            ),
            eventLoop: channel.eventLoop
        )
        var events = WebSocket.Events(
            onMessage: { session.value.receive($0) },
            onClose: { reason in
                session.value.close()
                logger.debug("connection closed", metadata: ["reason": "\(reason)"])
            }
        )
        events.onBurstEnd = { session.value.flush() }
        return HTTPServer.WebSocketAcceptor(
            events: events,
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

    /// Stops listening, and writes what is still to be written. Connections end with their loops.
    public func stop() async throws {
        try await self.server.stopListening()
        try await self.archive?.close()
    }
}
