//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Logging
import NIOCore
import NIOPosix
import NostrClient
import Observability
import Tunnel
import TunnelProtocol

/// `nws entry`
struct EntryCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "entry",
        abstract: "Run a local SOCKS5, SOCKS4a and HTTP proxy to .nostr names.",
        discussion: """
            Configure curl (--socks5-hostname), git or a browser to use the proxy, and connect to an exit's .nostr \
            name, npub or nprofile. The proxy accepts SOCKS5, SOCKS4a and HTTP on the same port, and serves a \
            configuration for browsers at /proxy.pac. Names are reached through the relays that they contain; names \
            without relays through those given with --relay. Requests with different SOCKS or HTTP proxy credentials \
            never share a session or a connection to a relay. Prints 'socks: HOST:PORT' when it listens.
            """
    )

    @Option(help: ArgumentHelp("Address and port to listen on. Port 0 selects a free port.", valueName: "host:port"))
    var listen = "127.0.0.1:\(EntryConfiguration.defaultPort)"

    @Flag(
        help: ArgumentHelp(
            "Connect to relays on loopback and private addresses that names, relay lists and exits name. Relays given with --relay may always have such an address."
        )
    )
    var allowLocalRelays = false

    @Option(help: ArgumentHelp("Maximum number of client connections.", valueName: "count"))
    var maxConnections = EntryConfiguration().maximumConnections

    @Option(help: ArgumentHelp("File (mode 0600) with the user:password that clients must present.", valueName: "file"))
    var credentialsFile: String?

    @Option(
        help: ArgumentHelp(
            "Public address of this machine, to which plain NIP-74 exits connect directly instead of answering through relays (CONNECTR, not encrypted). The entry listens on this port on all addresses. [PUBLIC_ADDRESS]",
            valueName: "host:port"
        )
    )
    var publicAddress: String?

    @Flag(help: "Allow listening on addresses that other machines can connect to.")
    var allowRemoteClients = false

    @OptionGroup var entry: EntryOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        let address = try HostAndPort(self.listen, source: "--listen")
        var configuration = try self.entry.configuration(settings, logger: logger)
        configuration.host = address.host
        configuration.port = address.port
        guard self.maxConnections > 0 else { throw CommandError.configuration("--max-connections: must be at least 1") }
        configuration.maximumConnections = ProcessSetup.connectionLimit(self.maxConnections, logger: logger)
        configuration.allowsLocalRelays = self.allowLocalRelays ? true : nil
        guard configuration.identity == nil || configuration.identityExits?.isEmpty == false else {
            throw CommandError.configuration(
                "--identity: name the exits that may learn your identity with --identity-for NAME"
            )
        }
        configuration.allowsRemoteClients = self.allowRemoteClients
        configuration.publicAddress = try self.publicAddress(settings)
        if let path = self.credentialsFile { configuration.credentials = try Self.credentials(path) }
        return configuration
    }

    func start(
        _ configuration: EntryConfiguration,
        logger: Logger,
        running: @Sendable (EntryService) -> Void
    ) async throws {
        let service = try await EntryOptions.start(configuration, logger: logger)
        running(service)
        let hostAndPort = service.proxyAddress?.hostAndPort ?? ""
        if configuration.allowsRemoteClients {
            logger.warning("other machines can use this entry", metadata: ["listen": "\(hostAndPort)"])
        }
        if let address = configuration.publicAddress {
            logger.notice(
                "exits can connect to this machine (CONNECTR)",
                metadata: ["address": "\(address)", "listen": "0.0.0.0:\(address.port)"]
            )
        }
        logger.info("entry started", metadata: ["socks": "\(hostAndPort)", "relays": "\(configuration.relays.count)"])
        Console.line("socks: \(hostAndPort)")
    }

    private func publicAddress(_ settings: Settings) throws -> TargetAddress? {
        guard
            let (text, source) = self.publicAddress.map({ ($0, "--public-address") })
                ?? settings["PUBLIC_ADDRESS"].map({ ($0, "PUBLIC_ADDRESS") })
        else { return nil }
        return try TargetAddress(text, source: "\(source): \(text)", expected: "HOST:PORT")
    }

    static func name(of running: EntryService) -> String { running.proxyAddress?.hostAndPort ?? "" }

    static func proxyScript(_ running: EntryService) -> String? {
        running.proxyAddress.map { ProxyAutoConfiguration.script(proxy: $0.hostAndPort) }
    }

    private static func credentials(_ path: String) throws -> ProxyCredentials {
        let line = try SecretFile.read(path, source: "--credentials-file")
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, parts[0].utf8.count <= 255, parts[1].utf8.count <= 255 else {
            throw CommandError.configuration(
                "--credentials-file: \(path) must contain user:password, at most 255 bytes each"
            )
        }
        return ProxyCredentials(user: Array(parts[0].utf8), password: Array(parts[1].utf8))
    }
}
