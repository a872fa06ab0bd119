//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
import NIOConcurrencyHelpers
public import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// A node's own pages: what it is doing, for people, for Prometheus, and for whoever supervises it.
public final class AdminServer: Sendable {
    /// What the server shows, and to whom.
    public struct Configuration: Sendable {
        public var host: String
        public var port: Int
        /// What others must present as a bearer token, or in the page's address; needed beyond loopback.
        public var token: String?

        public init(host: String, port: Int, token: String? = nil) {
            self.host = host
            self.port = port
            self.token = token
        }

        /// Whether others than this machine could come without a token.
        public func lacksToken(on loop: any EventLoop) async throws -> Bool {
            guard self.token == nil else { return false }
            let addresses = try await HostResolver.own.resolve(host: self.host, port: self.port, on: loop).get()
            return !addresses.allSatisfy { AddressClass($0) == .loopback }
        }
    }

    /// Why a server cannot start.
    public struct TokenRequiredError: Error {}

    /// How often numbers are taken, and for how long they are kept.
    private static let interval: Duration = .seconds(1)
    private static let samples = 300

    private let server: HTTPServer
    private let registry: PrometheusRegistry
    private let state: SharedState

    public let localAddress: SocketAddress

    /// Shared with the routes.
    private final class SharedState: Sendable {
        let report: NIOLockedValueBox<StatusReport>
        let proxyScript = NIOLockedValueBox<String?>(nil)

        init(_ report: StatusReport) {
            self.report = NIOLockedValueBox(report)
        }
    }

    private init(server: HTTPServer, registry: PrometheusRegistry, state: SharedState) {
        self.server = server
        self.registry = registry
        self.state = state
        self.localAddress = server.localAddress
    }

    /// Binds and serves.
    ///
    /// - Throws: ``TokenRequiredError`` beyond loopback without a token, or the system's error.
    public static func start(
        _ configuration: Configuration,
        report: StatusReport,
        registry: PrometheusRegistry,
        on group: any EventLoopGroup,
        logger: Logger
    ) async throws -> AdminServer {
        guard try await !configuration.lacksToken(on: group.next()) else { throw TokenRequiredError() }
        let state = SharedState(report)
        var http = HTTPServer.Configuration(host: configuration.host, port: configuration.port)
        http.maximumConnections = 64
        let server = try await HTTPServer.start(
            http,
            on: group,
            logger: logger,
            route: { Self.answer($0, configuration, registry, state) },
            upgrade: { _, _ in nil }
        )
        return AdminServer(server: server, registry: registry, state: state)
    }

    /// Takes numbers until the task is cancelled.
    ///
    /// - Parameter collect: Fills in what is of the role.
    public func run(collect: @Sendable (inout StatusReport) async -> Void) async {
        repeat {
            let before = self.state.report.withLockedValue { $0 }
            var report = before
            await collect(&report)
            // A relay has no streams; what it carries are messages.
            let part = report.connections == nil ? "tunnel" : "relay"
            report.sentBytes = self.registry.total("nws_\(part)_sent_bytes_total")
            report.receivedBytes = self.registry.total("nws_\(part)_received_bytes_total")
            for index in report.relays.indices {
                let relay = report.relays[index]
                guard let bytes = relay.bytes, let last = before.relays.first(where: { $0.url == relay.url })?.bytes
                else { continue }
                // A connection that was made anew begins at 0.
                report.relays[index].rate = Double(bytes >= last ? bytes - last : bytes)
            }
            report.sentRates = before.sentRates.suffix(Self.samples - 1) + [Double(report.sentBytes - before.sentBytes)]
            report.receivedRates =
                before.receivedRates.suffix(Self.samples - 1) + [Double(report.receivedBytes - before.receivedBytes)]
            self.state.report.withLockedValue { $0 = report }
            // Sleep throws nothing but that it is over.
        } while (try? await Task.sleep(for: Self.interval)) != nil
    }

    /// Serves the settings script of an entry's proxy, too.
    public func setProxyScript(_ script: String?) {
        self.state.proxyScript.withLockedValue { $0 = script }
    }

    public func stop() async throws {
        try await self.server.stopListening()
    }

    // MARK: Routes

    private static func answer(
        _ request: HTTPRequest,
        _ configuration: Configuration,
        _ registry: PrometheusRegistry,
        _ state: SharedState
    ) -> HTTPResponse {
        var response = Self.unguarded(request, configuration, registry, state)
        response.headers.replaceOrAdd(name: "Cache-Control", value: "no-store")
        response.headers.replaceOrAdd(name: "X-Content-Type-Options", value: "nosniff")
        response.headers.replaceOrAdd(name: "Referrer-Policy", value: "no-referrer")
        response.headers.replaceOrAdd(
            name: "Content-Security-Policy",
            value:
                "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; frame-ancestors 'none'"
        )
        return response
    }

    private static func unguarded(
        _ request: HTTPRequest,
        _ configuration: Configuration,
        _ registry: PrometheusRegistry,
        _ state: SharedState
    ) -> HTTPResponse {
        guard [.GET, .HEAD].contains(request.head.method) else {
            return .text(.methodNotAllowed, "GET or HEAD.")
        }
        let gate = AdminGate(token: configuration.token)
        // Supervisors have neither token nor name, and style and script say nothing.
        let isOpen = ["/healthz", "/readyz", "/status.css", "/status.js"].contains(request.path)
        if !isOpen, let refusal = gate.refusal(of: request.head) { return refusal }
        let report = state.report.withLockedValue { $0 }
        switch request.path {
        case "/":
            return HTTPResponse(
                status: .ok,
                contentType: "text/html; charset=utf-8",
                body: ByteBuffer(string: StatusPage.html)
            )
        case "/status.css":
            return HTTPResponse(status: .ok, contentType: "text/css", body: ByteBuffer(string: StatusPage.style))
        case "/status.js":
            return HTTPResponse(
                status: .ok,
                contentType: "text/javascript; charset=utf-8",
                body: ByteBuffer(string: StatusPage.script)
            )
        case "/status.json":
            guard let json = try? JSONEncoder().encode(report) else {
                return .text(.internalServerError, "The report cannot be written.")
            }
            return HTTPResponse(status: .ok, contentType: "application/json", body: ByteBuffer(bytes: json))
        case "/metrics":
            return HTTPResponse(
                status: .ok,
                contentType: PrometheusText.contentType,
                body: ByteBuffer(string: registry.text(and: report.samples))
            )
        case "/healthz":
            return .text(.ok, "ok")
        case "/readyz":
            return report.isReady ? .text(.ok, "ready") : .text(.serviceUnavailable, "not ready")
        case "/proxy.pac":
            guard let script = state.proxyScript.withLockedValue({ $0 }) else {
                return .text(.notFound, "Only an entry has that.")
            }
            return HTTPResponse(
                status: .ok,
                contentType: "application/x-ns-proxy-autoconfig",
                body: ByteBuffer(string: script)
            )
        default:
            return .text(.notFound, "There is /, /status.json, /metrics, /healthz, /readyz and /proxy.pac.")
        }
    }
}
