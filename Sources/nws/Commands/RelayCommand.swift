//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import HTTPTransport
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrRelay
import Observability
import TunnelProtocol

/// `nws relay`
struct RelayCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay",
        abstract: "Run a Nostr relay optimized for tunnels.",
        discussion: """
            Ephemeral events are forwarded immediately and in order, and are never stored. Other events are kept in \
            memory, or in a file with --store. Prints 'relay: URL' when it listens.
            """
    )

    @Option(help: "Address and port to listen on. Port 0 selects a free port.")
    var listen = "127.0.0.1:7777"

    @Option(
        help: ArgumentHelp.reloadable(
            "PEM file with the certificate chain of the relay, for wss://.",
            valueName: "file"
        )
    )
    var tlsCert: String?

    @Option(help: ArgumentHelp.reloadable("PEM file with the private key of the certificate.", valueName: "file"))
    var tlsKey: String?

    @Option(
        help: ArgumentHelp(
            "URL that clients use if the relay is behind a proxy: the URL that they sign in AUTH events (NIP-42). Default: the Host header field of the request.",
            valueName: "url"
        )
    )
    var publicURL: String?

    @Flag(
        help: ArgumentHelp.reloadable(
            "Accept only the event kinds that tunnels use: 28333, 38333 to 38335, 10002 and 5."
        )
    )
    var tunnelOnly = false

    @Option(help: ArgumentHelp.reloadable("Name of the relay in its information document (NIP-11)."))
    var name = "nws relay"

    @Option(help: ArgumentHelp("Maximum size of a message, in bytes.", valueName: "bytes"))
    var maxMessageLength = RelayLimits().messageLength

    @Option(help: ArgumentHelp.reloadable("Maximum size of an event as JSON, in bytes.", valueName: "bytes"))
    var maxEventLength = RelayLimits().eventLength

    @Option(help: ArgumentHelp.reloadable("Maximum number of subscriptions per connection.", valueName: "count"))
    var maxSubscriptions = RelayLimits().subscriptions

    @Option(help: ArgumentHelp.reloadable("Maximum number of filters per subscription.", valueName: "count"))
    var maxFilters = RelayLimits().filters

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum rate of events per connection, per second. Bursts may be twice as large.",
            valueName: "count"
        )
    )
    var maxEventsPerSecond = RelayLimits().eventsPerSecond

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum number of bytes queued for a client. A slower client is disconnected.",
            valueName: "bytes"
        )
    )
    var maxOutboundBytes = RelayLimits().outboundBytes

    @Option(help: ArgumentHelp.reloadable("Maximum number of connections.", valueName: "count"))
    var maxConnections = RelayLimits().connections

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum number of connections per client address, except loopback addresses.",
            valueName: "count"
        )
    )
    var maxConnectionsPerAddress = RelayLimits().connectionsPerAddress

    @Option(
        help: ArgumentHelp(
            "SQLite file in which events are saved. It is created if it does not exist. Default: events are kept only in memory.",
            valueName: "file"
        )
    )
    var store: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Address or network of a reverse proxy (nginx, Caddy) whose X-Forwarded-For header field is trusted, so that limits per address apply to its clients; repeat for several.",
            valueName: "network"
        )
    )
    var trustedProxy: [String] = []

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum number of stored events. Beyond it those that arrived first are removed.",
            valueName: "count"
        )
    )
    var maxStoredEvents = RelayLimits().storedEvents

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "UDP address and port at which STUN requests are answered, so that devices behind NATs find direct paths; at most two. The information document names the ports. Default: the port of --listen, and the next one.",
            valueName: "address:port"
        )
    )
    var stunListen: [String] = []

    @Flag(help: "Do not answer STUN requests.")
    var noSTUN = false

    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions

    func validate() throws {
        let positive = [
            ("--max-message-length", self.maxMessageLength), ("--max-event-length", self.maxEventLength),
            ("--max-subscriptions", self.maxSubscriptions), ("--max-filters", self.maxFilters),
            ("--max-events-per-second", self.maxEventsPerSecond), ("--max-outbound-bytes", self.maxOutboundBytes),
            ("--max-connections", self.maxConnections),
            ("--max-connections-per-address", self.maxConnectionsPerAddress),
            ("--max-stored-events", self.maxStoredEvents),
        ]
        guard !self.noSTUN || self.stunListen.isEmpty else {
            throw ValidationError("--stun-listen and --no-stun exclude each other.")
        }
        guard self.stunListen.count <= RelayInformation.maximumSTUNPorts else {
            throw ValidationError("--stun-listen: at most \(RelayInformation.maximumSTUNPorts) addresses are possible.")
        }
        guard self.maxMessageLength >= 4_096 else {
            throw ValidationError("--max-message-length must be at least 4096.")
        }
        guard self.maxEventLength >= 2_048 else { throw ValidationError("--max-event-length must be at least 2048.") }
        for (name, value) in positive where value < 1 || value > Int(Int32.max) {
            throw ValidationError("\(name) must be between 1 and \(Int32.max).")
        }
    }

    /// Connections are closed immediately, because clients can switch to other relays.
    var shutdownTimeout: Int { 0 }

    var watchedFiles: [String] { [self.tlsCert, self.tlsKey].compactMap { $0 } }

    private func tls() throws -> ServerTLS? {
        guard (self.tlsCert == nil) == (self.tlsKey == nil) else {
            throw CommandError.configuration("--tls-cert and --tls-key must be given together")
        }
        guard let tlsCert, let tlsKey else { return nil }
        let mode = (try? FileManager.default.attributesOfItem(atPath: tlsKey))?[.posixPermissions] as? Int
        if let mode, mode & 0o007 != 0 {
            throw CommandError.configuration(
                "--tls-key: \(tlsKey) is accessible by all users; run: chmod o= '\(tlsKey)'"
            )
        }
        for (option, file) in [("--tls-cert", tlsCert), ("--tls-key", tlsKey)]
        where !FileManager.default.isReadableFile(atPath: file) {
            throw CommandError.configuration(
                "\(option): cannot read \(file): check that the file exists and is readable"
            )
        }
        do {
            return try ServerTLS(certificateFile: tlsCert, keyFile: tlsKey)
        } catch {
            throw CommandError.configuration(
                "--tls-cert, --tls-key: \(tlsCert) and \(tlsKey) must contain a certificate and its private key in PEM format"
            )
        }
    }

    private func stun() throws -> RelayConfiguration.STUNChoice {
        guard !self.noSTUN else { return .off }
        guard !self.stunListen.isEmpty else { return .besideRelay }
        return .addresses(
            try self.stunListen.map { text in
                let place = try HostAndPort(text, source: "--stun-listen")
                guard let address = try? SocketAddress(ipAddress: place.host, port: place.port) else {
                    throw CommandError.configuration(
                        "--stun-listen: \(text): needs an IP address and a port, for example 0.0.0.0:3478"
                    )
                }
                return address
            }
        )
    }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> RelayConfiguration {
        let address = try HostAndPort(self.listen, source: "--listen")
        var configuration = RelayConfiguration(host: address.host, port: address.port)
        configuration.name = self.name
        configuration.tls = try self.tls()
        configuration.publicURL = try self.publicURL.map { try Settings.relay($0, source: "--public-url") }
        configuration.trustedProxies = try self.trustedProxy.map { text in
            guard let network = IPNetwork(text) else {
                throw CommandError.configuration(
                    "--trusted-proxy: \(text) is not an IP address or network; needs, for example, 10.0.0.0/8"
                )
            }
            return network
        }
        configuration.stun = try self.stun()
        if let store {
            guard !store.isEmpty else { throw CommandError.configuration("--store: the file name is empty") }
            configuration.storePath = store
        }
        if self.tunnelOnly { configuration.acceptedKinds = RelayConfiguration.tunnelKinds }
        configuration.limits.messageLength = self.maxMessageLength
        configuration.limits.eventLength = min(self.maxEventLength, self.maxMessageLength)
        configuration.limits.subscriptions = self.maxSubscriptions
        configuration.limits.filters = self.maxFilters
        configuration.limits.eventsPerSecond = self.maxEventsPerSecond
        configuration.limits.eventBurst = self.maxEventsPerSecond * 2
        configuration.limits.outboundBytes = self.maxOutboundBytes
        configuration.limits.connections = ProcessSetup.connectionLimit(self.maxConnections, logger: logger)
        configuration.limits.connectionsPerAddress = self.maxConnectionsPerAddress
        configuration.limits.storedEvents = self.maxStoredEvents
        return configuration
    }

    func start(
        _ configuration: RelayConfiguration,
        logger: Logger,
        running: @Sendable (RelayServer) -> Void
    ) async throws {
        let server: RelayServer
        do {
            server = try await RelayServer.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton,
                logger: logger
            )
        } catch let error as EventArchive.OpeningError {
            throw CommandError.configuration("--store: \(error)")
        } catch let error as STUNServer.OpeningError {
            let place = TargetAddress.text(host: error.address.ipAddress ?? "", port: error.address.port ?? 0)
            throw ProcessSetup.bindError(error.reason, address: "\(place) (--stun-listen)")
        } catch {
            throw ProcessSetup.bindError(error, address: self.listen)
        }
        running(server)
        logger.info("relay started", metadata: ["url": "\(server.url)"])
        Console.line("relay: \(server.url)")
    }

    static func proxyScript(_ running: RelayServer) -> String? { nil }

    static func name(of running: RelayServer) -> String { running.url }

    static func report(_ running: RelayServer, into report: inout StatusReport) async {
        report.isReady = true
        report.connections = running.connectionCount
        let counts = running.counts
        report.work = StatusReport.RelayWork(
            accepted: ProcessMetrics.registry.total("nws_relay_events_accepted_total"),
            delivered: ProcessMetrics.registry.total("nws_relay_events_delivered_total"),
            subscriptions: counts.subscriptions,
            stored: counts.events,
            rejections: ProcessMetrics.registry.totals("nws_relay_rejections_total", by: "reason")
        )
    }

    func probe(_ configuration: RelayConfiguration, _ probe: inout ConfigurationProbe) async {
        if let store = configuration.storePath { probe.checkWritable(store, "--store", isRequired: true) }
    }

    static func reload(_ running: RelayServer, _ configuration: RelayConfiguration, logger: Logger) async throws {
        guard running.update(configuration) else {
            throw CommandError.configuration("enabling or disabling TLS requires a restart")
        }
    }

    static func stop(_ running: RelayServer, timeout: TimeAmount, logger: Logger) async throws {
        try await running.stop()
        logger.info("relay stopped")
    }
}
