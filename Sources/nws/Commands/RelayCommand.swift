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

/// `nws relay`
struct RelayCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay",
        abstract: "Run a Nostr relay made for tunnels.",
        discussion: """
            Ephemeral events are handed on in order and at once, and never stored; others are kept in memory. \
            When it listens it prints 'relay: ws://…'.
            """
    )

    @Option(help: "Address and port to listen on; port 0 takes a free one.")
    var listen = "127.0.0.1:7777"

    @Option(
        help: ArgumentHelp(
            "PEM file with the relay's certificate and chain, for wss://; read again when it is renewed.",
            valueName: "file"
        )
    )
    var tlsCert: String?

    @Option(help: ArgumentHelp("PEM file with the certificate's key.", valueName: "file"))
    var tlsKey: String?

    @Option(
        help: ArgumentHelp(
            "Address by which clients know the relay, if it is behind a proxy: what they authenticate to (NIP-42).",
            valueName: "url"
        )
    )
    var publicURL: String?

    @Flag(help: "Take only what tunnels need: kinds 28333, 38333 to 38335, 10002 and 5.")
    var tunnelOnly = false

    @Option(help: "Name that the information document (NIP-11) gives.")
    var name = "nws relay"

    @Option(help: ArgumentHelp("Longest message in bytes.", valueName: "bytes"))
    var maxMessageLength = RelayLimits().messageLength

    @Option(help: ArgumentHelp("Longest event in bytes of JSON.", valueName: "bytes"))
    var maxEventLength = RelayLimits().eventLength

    @Option(help: ArgumentHelp("Subscriptions of one connection.", valueName: "count"))
    var maxSubscriptions = RelayLimits().subscriptions

    @Option(help: ArgumentHelp("Filters of one subscription.", valueName: "count"))
    var maxFilters = RelayLimits().filters

    @Option(help: ArgumentHelp("Events a second of one connection; twice as many at once.", valueName: "count"))
    var maxEventsPerSecond = RelayLimits().eventsPerSecond

    @Option(help: ArgumentHelp("Bytes that wait for a slow reader before it is disconnected.", valueName: "bytes"))
    var maxOutboundBytes = RelayLimits().outboundBytes

    @Option(help: ArgumentHelp("Connections in all.", valueName: "count"))
    var maxConnections = RelayLimits().connections

    @Option(help: ArgumentHelp("Connections of one address other than loopback.", valueName: "count"))
    var maxConnectionsPerAddress = RelayLimits().connectionsPerAddress

    @Option(
        help: ArgumentHelp(
            "SQLite file that keeps events over a restart, made if it is missing. Without it they are kept in memory alone.",
            valueName: "file"
        )
    )
    var store: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Address or network of a proxy in front (nginx, Caddy) that is believed who its clients are (X-Forwarded-For), so that limits by address count those; repeat for several.",
            valueName: "network"
        )
    )
    var trustedProxy: [String] = []

    @Option(help: ArgumentHelp("Events kept; beyond it the oldest go.", valueName: "count"))
    var maxStoredEvents = RelayLimits().storedEvents

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
        guard self.maxMessageLength >= 4_096 else {
            throw ValidationError("--max-message-length must be at least 4096.")
        }
        guard self.maxEventLength >= 2_048 else { throw ValidationError("--max-event-length must be at least 2048.") }
        for (name, value) in positive where value < 1 || value > Int(Int32.max) {
            throw ValidationError("\(name) must be between 1 and \(Int32.max).")
        }
    }

    /// Its connections end at once; clients have other relays.
    var shutdownTimeout: Int { 0 }

    static let reloadable: Set<String> = [
        "tls-cert", "tls-key", "name", "tunnel-only", "max-event-length", "max-subscriptions",
        "max-filters", "max-events-per-second", "max-outbound-bytes", "max-connections", "max-connections-per-address",
        "max-stored-events",
    ]

    func watchedFiles(_ configuration: RelayConfiguration) -> [String] {
        [self.tlsCert, self.tlsKey].compactMap { $0 }
    }

    private func tls() throws -> ServerTLS? {
        guard (self.tlsCert == nil) == (self.tlsKey == nil) else {
            throw CommandError.configuration("--tls-cert and --tls-key belong together")
        }
        guard let tlsCert, let tlsKey else { return nil }
        let mode = (try? FileManager.default.attributesOfItem(atPath: tlsKey))?[.posixPermissions] as? Int
        if let mode, mode & 0o007 != 0 {
            throw CommandError.configuration("--tls-key: \(tlsKey) can be read by everyone; run: chmod o= '\(tlsKey)'")
        }
        for (option, file) in [("--tls-cert", tlsCert), ("--tls-key", tlsKey)]
        where !FileManager.default.isReadableFile(atPath: file) {
            throw CommandError.configuration("\(option): \(file) is not there, or cannot be read")
        }
        do {
            return try ServerTLS(certificateFile: tlsCert, keyFile: tlsKey)
        } catch {
            throw CommandError.configuration(
                "--tls-cert, --tls-key: \(tlsCert) and \(tlsKey) are no certificate and key in PEM that belong together"
            )
        }
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
                    "--trusted-proxy: \(text) is no address and no network, as in 10.0.0.0/8"
                )
            }
            return network
        }
        if let store {
            guard !store.isEmpty else { throw CommandError.configuration("--store: there is no file name") }
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
        configuration.limits.connections = self.maxConnections
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
        } catch {
            throw ProcessSetup.bindError(error, address: self.listen)
        }
        running(server)
        logger.info("relay started", metadata: ["url": "\(server.url)"])
        Console.line("relay: \(server.url)")
    }

    static func name(of running: RelayServer) -> String { running.url }

    static func report(_ running: RelayServer, into report: inout StatusReport) async {
        report.isReady = true
        report.connections = running.connectionCount
    }

    static func reload(_ running: RelayServer, _ configuration: RelayConfiguration, logger: Logger) async throws {
        guard running.update(configuration) else {
            throw CommandError.configuration("whether a relay speaks TLS changes only with a restart")
        }
    }

    static func stop(_ running: RelayServer, patience: TimeAmount, logger: Logger) async throws {
        try await running.stop()
        logger.info("relay stopped")
    }
}
