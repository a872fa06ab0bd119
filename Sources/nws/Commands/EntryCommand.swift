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
        abstract: "Run a local proxy (SOCKS5, SOCKS4a and HTTP) to .nostr names.",
        discussion: """
            Point curl (--socks5-hostname), a browser or git at it, and use an exit's name, npub or nprofile as \
            the host. One port speaks SOCKS5, SOCKS4a and HTTP, and serves a browser's settings at /proxy.pac. The \
            relays in a name are used for it; the configured ones for names that carry none. Requests with different \
            SOCKS or proxy credentials share neither a session nor a connection to a relay. When it listens it prints \
            'socks: HOST:PORT'.
            """
    )

    @Option(help: ArgumentHelp("Address and port to listen on; port 0 takes a free one.", valueName: "host:port"))
    var listen = "127.0.0.1:\(EntryConfiguration.defaultPort)"

    @Flag(
        help: ArgumentHelp(
            "Dial relays on loopback and private addresses that names carry, even when not listening on loopback only."
        )
    )
    var allowLocalRelays = false

    @Option(help: ArgumentHelp("Connections of clients at once.", valueName: "count"))
    var maxConnections = EntryConfiguration().maximumConnections

    @Option(help: ArgumentHelp("File (mode 0600) with user:password that clients must give.", valueName: "file"))
    var credentialsFile: String?

    @Option(
        help: ArgumentHelp(
            "Address of this machine at which exits that speak plain NIP-74 may connect to it, instead of answering by relays (CONNECTR, not encrypted). The entry listens at that port on every address. [PUBLIC_ADDRESS]",
            valueName: "host:port"
        )
    )
    var publicAddress: String?

    @Flag(help: "Listen where other machines can connect, too.")
    var allowRemoteClients = false

    @OptionGroup var entry: EntryOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    static let reloadable: Set<String> = ["relay", "exit"]

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        let address = try HostAndPort(self.listen, source: "--listen")
        var configuration = try self.entry.configuration(settings, logger: logger)
        configuration.host = address.host
        configuration.port = address.port
        guard self.maxConnections > 0 else { throw CommandError.configuration("--max-connections must be positive") }
        configuration.maximumConnections = self.maxConnections
        configuration.allowsLocalRelays = self.allowLocalRelays ? true : nil
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
        let service = try await self.entry.start(configuration, logger: logger)
        running(service)
        let shown = service.proxyAddress?.shown ?? ""
        if configuration.allowsRemoteClients {
            logger.warning("other machines can use this entry", metadata: ["listen": "\(shown)"])
        }
        if let address = configuration.publicAddress {
            logger.notice(
                "exits may connect to this machine (CONNECTR)",
                metadata: ["address": "\(address)", "listen": "0.0.0.0:\(address.port)"]
            )
        }
        logger.info("entry started", metadata: ["socks": "\(shown)", "relays": "\(configuration.relays.count)"])
        Console.line("socks: \(shown)")
    }

    private func publicAddress(_ settings: Settings) throws -> TargetAddress? {
        guard
            let (text, source) = self.publicAddress.map({ ($0, "--public-address") })
                ?? settings["PUBLIC_ADDRESS"].map({ ($0, "PUBLIC_ADDRESS") })
        else { return nil }
        return try TargetAddress(text, source: "\(source): \(text)", expected: "HOST:PORT")
    }

    static func name(of running: EntryService) -> String { running.proxyAddress?.shown ?? "" }

    static func proxyScript(_ running: EntryService) -> String? {
        running.proxyAddress.map { ProxyAutoConfiguration.script(proxy: $0.shown) }
    }

    private static func credentials(_ path: String) throws -> ProxyCredentials {
        let line = try SecretFile.read(path, source: "--credentials-file")
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, parts[0].utf8.count <= 255, parts[1].utf8.count <= 255 else {
            throw CommandError.configuration("--credentials-file: \(path) does not hold user:password")
        }
        return ProxyCredentials(user: Array(parts[0].utf8), password: Array(parts[1].utf8))
    }
}
