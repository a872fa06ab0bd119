//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import Logging
import NIOConcurrencyHelpers
package import NIOCore
import NIOHTTP1

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// An HTTP server for a node's status page, Prometheus metrics and health checks.
package final class AdminServer: Sendable {
    /// The address of the server and its access token.
    package struct Configuration: Sendable {
        /// The host name or IP address to listen on.
        package var host: String
        /// The port to listen on; 0 for any free port.
        package var port: Int
        /// The token that requests must carry, as a bearer token or as `?token=` in the URL.
        ///
        /// It is required if ``host`` is not a loopback address. `/healthz`, `/readyz` and the page's style sheet and
        /// script need no token.
        package var token: String?

        /// Creates a configuration.
        package init(host: String, port: Int, token: String? = nil) {
            self.host = host
            self.port = port
            self.token = token
        }

        /// Whether ``token`` is missing although ``host`` is not a loopback address.
        ///
        /// - Throws: An error if the host name cannot be resolved.
        package func lacksToken(on loop: any EventLoop) async throws -> Bool {
            guard self.token == nil else { return false }
            let addresses = try await HostResolver.own.resolve(host: self.host, port: self.port, on: loop).get()
            return !addresses.allSatisfy { AddressClass($0) == .loopback }
        }
    }

    /// The server would listen on an address other than loopback, but has no token.
    package struct TokenRequiredError: Error {}

    /// How often the report is updated.
    private static let interval: Duration = .seconds(1)
    /// Maximum number of values in each history of rates.
    private static let samples = 300

    private let server: HTTPServer
    private let registry: PrometheusRegistry
    private let state: SharedState

    /// The address that the server listens on.
    package let localAddress: SocketAddress

    /// The state that the request handlers read.
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

    /// Starts a server.
    ///
    /// - Parameters:
    ///   - report: The report that is served until ``run(collect:)`` updates it.
    ///   - registry: The metrics to serve.
    /// - Throws: ``TokenRequiredError`` if the configuration lacks a token, or the error of resolving or binding the
    ///   address.
    package static func start(
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

    /// Updates the report every second until the task is cancelled.
    ///
    /// - Parameter collect: Fills in the parts of the report that depend on the role.
    package func run(collect: @Sendable (inout StatusReport) async -> Void) async {
        repeat {
            let before = self.state.report.withLockedValue { $0 }
            var report = before
            await collect(&report)
            // A relay has no streams, so its traffic is that of its clients' messages.
            let part = report.connections == nil ? "tunnel" : "relay"
            report.sentBytes = self.registry.total("nws_\(part)_sent_bytes_total")
            report.receivedBytes = self.registry.total("nws_\(part)_received_bytes_total")
            for index in report.relays.indices {
                let relay = report.relays[index]
                guard let bytes = relay.bytes, let last = before.relays.first(where: { $0.url == relay.url })?.bytes
                else { continue }
                // The count includes reconnects, but is lower if an unused connection was removed. Assume that it
                // restarted at 0.
                report.relays[index].rate = Double(bytes >= last ? bytes - last : bytes)
            }
            for index in report.sessions.indices {
                let session = report.sessions[index]
                let last = before.sessions.first { $0.peer == session.peer && $0.direct != nil }?.direct?.bytes
                guard let bytes = session.direct?.bytes, let last else { continue }
                report.sessions[index].direct?.rate = Double(bytes >= last ? bytes - last : bytes)
            }
            report.sentRates = before.sentRates.suffix(Self.samples - 1) + [Double(report.sentBytes - before.sentBytes)]
            report.receivedRates =
                before.receivedRates.suffix(Self.samples - 1) + [Double(report.receivedBytes - before.receivedBytes)]
            self.state.report.withLockedValue { $0 = report }
            // `sleep` throws only if the task is cancelled.
        } while (try? await Task.sleep(for: Self.interval)) != nil
    }

    /// Sets the proxy auto-configuration script to serve at `/proxy.pac`. With nil, the path is not found.
    package func setProxyScript(_ script: String?) {
        self.state.proxyScript.withLockedValue { $0 = script }
    }

    /// Stops listening.
    package func stop() async throws {
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
            return .text(.methodNotAllowed, "Method not allowed; use GET or HEAD.")
        }
        let gate = AdminGate(token: configuration.token)
        // Health checks may have no token and use any host name. The style sheet and script contain no data.
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
                return .text(.internalServerError, "The status report could not be encoded.")
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
                return .text(.notFound, "Not found: this node has no proxy.")
            }
            return HTTPResponse(
                status: .ok,
                contentType: "application/x-ns-proxy-autoconfig",
                body: ByteBuffer(string: script)
            )
        default:
            return .text(.notFound, "Not found. Paths: /, /status.json, /metrics, /healthz, /readyz, /proxy.pac.")
        }
    }
}
