//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import Logging
import NIOConcurrencyHelpers
package import NIOCore
import NIOHTTP1
import NIOPosix
import Nostr

/// A Nostr relay server.
///
/// It serves clients over WebSocket (NIP-01) and its information document over HTTP (NIP-11) on the same port.
package final class RelayServer: Sendable {
    private let server: HTTPServer

    /// The address that the relay listens on.
    package let localAddress: SocketAddress
    /// The URL of the relay: the configured public URL, or else one with ``localAddress``.
    package let url: String

    private let tls: ServerTLS?
    private let hub: RelayHub
    private let archive: EventArchive?
    private let stun: STUNServer?
    private let settings: Settings

    /// The settings that ``update(_:)`` can change, for new connections and HTTP requests.
    private final class Settings: Sendable {
        let configuration: NIOLockedValueBox<RelayConfiguration>
        let information: NIOLockedValueBox<ByteBuffer>

        /// The ports at which STUN requests are answered, for the information document.
        private let stunPorts = NIOLockedValueBox<[UInt16]>([])

        init(_ configuration: RelayConfiguration) {
            self.configuration = NIOLockedValueBox(configuration)
            self.information = NIOLockedValueBox(configuration.information.json)
        }

        func setSTUNPorts(_ ports: [UInt16]) {
            self.stunPorts.withLockedValue { $0 = ports }
            self.updateInformation()
        }

        func updateInformation() {
            var information = self.configuration.withLockedValue { $0.information }
            information.stunPorts = self.stunPorts.withLockedValue { $0 }
            let json = information.json
            self.information.withLockedValue { $0 = json }
        }
    }

    private init(
        server: HTTPServer,
        hub: RelayHub,
        archive: EventArchive?,
        stun: STUNServer?,
        settings: Settings
    ) {
        let configuration = settings.configuration.withLockedValue { $0 }
        self.server = server
        self.hub = hub
        self.archive = archive
        self.stun = stun
        self.settings = settings
        self.tls = configuration.tls
        self.localAddress = server.localAddress
        let host = server.localAddress.ipAddress ?? "127.0.0.1"
        let own =
            "\(configuration.tls == nil ? "ws" : "wss")://\(host.contains(":") ? "[\(host)]" : host):\(server.localAddress.port ?? 0)"
        self.url = configuration.publicURL?.text ?? own
    }

    /// The configuration for new connections.
    var configuration: RelayConfiguration { self.settings.configuration.withLockedValue { $0 } }

    /// Applies a new configuration without a restart.
    ///
    /// The certificate, the limits, the accepted kinds and the information document are replaced. Limits on storage
    /// take effect at once, all others for new connections. ``RelayLimits/messageLength`` and other properties of
    /// `configuration` are ignored.
    ///
    /// - Returns: False, without any change, if TLS would have to be turned on or off, which requires a restart.
    package func update(_ configuration: RelayConfiguration) -> Bool {
        guard (configuration.tls == nil) == (self.tls == nil) else { return false }
        if let renewed = configuration.tls { self.tls?.replace(with: renewed) }
        var configuration = configuration
        // The WebSocket server keeps the length that it was started with, so the information document must, too.
        configuration.limits.messageLength = self.settings.configuration.withLockedValue { $0.limits.messageLength }
        self.settings.configuration.withLockedValue { current in
            current.limits = configuration.limits
            current.name = configuration.name
            current.acceptedKinds = configuration.acceptedKinds
        }
        self.settings.updateInformation()
        self.server.update(
            maximumConnections: configuration.limits.connections,
            perAddress: configuration.limits.connectionsPerAddress
        )
        self.hub.update(configuration.limits)
        return true
    }

    /// Starts a relay. Stored events are loaded before it accepts connections.
    ///
    /// - Parameters:
    ///   - configuration: Addresses, limits and published information.
    ///   - group: Event loops of the connections. They also share the verification of events.
    ///   - logger: Logger of the relay.
    /// - Throws: An error of the system if the relay cannot listen on the address, ``EventArchive/OpeningError`` if the
    ///   event store cannot be opened, or an error of the database if it cannot be read.
    package static func start(
        _ configuration: RelayConfiguration,
        on group: any EventLoopGroup,
        logger: Logger
    ) async throws -> RelayServer {
        let metrics = RelayMetrics()
        let archive = try configuration.storePath.map { try EventArchive(path: $0, logger: logger) }
        let hub = RelayHub(
            limits: configuration.limits,
            metrics: metrics,
            clock: .system,
            archive: archive,
            limitsTunnelMessages: configuration.deliversTunnelMessagesToRecipientsOnly
        )
        if let archive {
            let count = hub.restore(try archive.load())
            logger.info("event store opened", metadata: ["events": "\(count)"])
        }
        let settings = Settings(configuration)
        let team = ParallelVerifier(group)
        var http = HTTPServer.Configuration(host: configuration.host, port: configuration.port)
        http.tls = configuration.tls
        http.maximumConnections = configuration.limits.connections
        http.maximumConnectionsPerAddress = configuration.limits.connectionsPerAddress
        http.newConnectionsPerAddress = Self.newConnectionsPerAddress
        http.trustedProxies = configuration.trustedProxies
        http.webSocket.maximumMessageLength = configuration.limits.messageLength
        // The JSON parser rejects invalid UTF-8.
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
        let stun: STUNServer?
        do {
            stun = try await Self.startSTUN(configuration, server, on: group, metrics: metrics, logger: logger)
        } catch {
            try? await server.stopListening()
            throw error
        }
        if let stun { settings.setSTUNPorts(stun.ports) }
        return RelayServer(server: server, hub: hub, archive: archive, stun: stun, settings: settings)
    }

    private static func startSTUN(
        _ configuration: RelayConfiguration,
        _ server: HTTPServer,
        on group: any EventLoopGroup,
        metrics: RelayMetrics,
        logger: Logger
    ) async throws -> STUNServer? {
        switch configuration.stun {
        case .off: return nil
        case .addresses(let addresses):
            return try await STUNServer.start(addresses, on: group, metrics: metrics, logger: logger)
        case .besideRelay:
            let isAnyPort = configuration.port == 0
            let first = server.localAddress
            var second = first
            second.port = isAnyPort ? 0 : first.port.map { $0 < UInt16.max ? $0 + 1 : $0 - 1 }
            do {
                return try await STUNServer.start([first, second], on: group, metrics: metrics, logger: logger)
            } catch let error as STUNServer.OpeningError {
                logger.warning(
                    "cannot open a UDP port for STUN, so devices behind NATs do not find direct paths by this relay; choose other ports with --stun-listen",
                    metadata: ["address": "\(error.address)", "error": "\(error.reason)"]
                )
                return nil
            }
        }
    }

    /// New connections per second, and at once, from one address that is not a loopback address. One can cause work for 30 ms.
    private static let newConnectionsPerAddress = (perSecond: 10, burst: 200)

    private static func accept(
        _ request: HTTPRequest,
        _ channel: any Channel,
        _ configuration: RelayConfiguration,
        hub: RelayHub,
        team: ParallelVerifier,
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
        events.onText = { session.value.receive($0) }
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
                response = .text(.notFound, "Not found. This is a Nostr relay.")
            }
        default:
            response = .text(.methodNotAllowed, "Method not allowed. Use GET, HEAD or OPTIONS.")
        }
        response.headers.add(contentsOf: cors)
        return response
    }

    /// Number of open connections.
    package var connectionCount: Int { self.server.connectionCount }

    /// Number of open subscriptions and of stored events.
    package var counts: (subscriptions: Int, events: Int) { self.hub.counts }

    /// Stops listening, and saves all pending events.
    ///
    /// Open connections are not closed. They end when their event loops shut down.
    ///
    /// - Throws: If the pending events cannot be saved.
    package func stop() async throws {
        self.stun?.stop()
        try await self.server.stopListening()
        try await self.archive?.close()
    }
}
