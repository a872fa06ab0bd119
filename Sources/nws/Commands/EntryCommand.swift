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
import Synchronization
import Tunnel
import TunnelProtocol

/// `nws entry`
struct EntryCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "entry",
        abstract: "Run a local SOCKS5 proxy to .nostr names.",
        discussion: """
            Point curl (--socks5-hostname), a browser or git at it, and use an exit's name, npub or nprofile as \
            the host. The relays in a name are used for it; the configured ones for names that carry none. When it \
            listens it prints 'socks: HOST:PORT'.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Relay for names that carry none; repeat for several. [NOSTR_RELAYS, separated by ;]",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(help: ArgumentHelp("Address and port to listen on; port 0 takes a free one.", valueName: "host:port"))
    var listen = "127.0.0.1:\(EntryConfiguration.defaultPort)"

    @Flag(
        help: ArgumentHelp(
            "Dial relays on loopback and private addresses that names carry, even when not listening on loopback only."
        )
    )
    var allowLocalRelays = false

    @Option(help: ArgumentHelp("File (mode 0600) with user:password that clients must give.", valueName: "file"))
    var credentialsFile: String?

    @Option(
        help: ArgumentHelp(
            "File with the secret key that proves to exits who you are, if they ask. No relay sees it. Without it you are nobody.",
            valueName: "file"
        )
    )
    var identity: String?

    @Flag(
        help: ArgumentHelp(
            "Tell clients that they are connected before the exit said so; failures are resets then. To exits known to speak sessions the first bytes go with the request: whoever gets the exit's key can read those."
        )
    )
    var optimistic = false

    @OptionGroup var sessionOptions: SessionOptions
    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var common: CommonOptions

    static let reloadable: Set<String> = []

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        try settings.refuseUnsupported()
        let address = try HostAndPort(self.listen, source: "--listen")
        var configuration = EntryConfiguration()
        configuration.host = address.host
        configuration.port = address.port
        configuration.relays = try settings.relays(self.relay)
        configuration.allowsLocalRelays = self.allowLocalRelays ? true : nil
        configuration.relayClient = try self.relayOptions.configuration()
        if let path = self.credentialsFile { configuration.credentials = try Self.credentials(path) }
        configuration.session = try self.sessionOptions.configuration()
        configuration.identity = try self.identity.map { try KeyFile(path: $0).read() }
        configuration.isOptimistic = self.optimistic
        configuration.dialectChoice = self.sessionOptions.dialect
        configuration.relayAuthenticationKey = try self.sessionOptions.authenticationKey()
        configuration.pinsFile = StateFolder.file(
            StateFolder.pins,
            purpose: "what exits speak is remembered until this process ends",
            logger: logger
        )
        return configuration
    }

    func start(
        _ configuration: EntryConfiguration,
        logger: Logger,
        running: @Sendable (EntryService) -> Void
    ) async throws {
        let service: EntryService
        do {
            service = try await EntryService.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
        } catch let error as ExitPins.DamagedFile {
            throw CommandError.configuration("\(error)")
        } catch {
            throw ProcessSetup.bindError(error, address: self.listen)
        }
        running(service)
        let host = service.localAddress.ipAddress ?? configuration.host
        let shown = "\(host.contains(":") ? "[\(host)]" : host):\(service.localAddress.port ?? 0)"
        logger.info("entry started", metadata: ["socks": "\(shown)", "relays": "\(configuration.relays.count)"])
        Console.line("socks: \(shown)")
    }

    static func reload(_ running: EntryService, _ configuration: EntryConfiguration, logger: Logger) async throws {}

    static func stop(_ running: EntryService, logger: Logger) async throws {
        try await running.stop()
        logger.info("entry stopped")
    }

    private static func credentials(_ path: String) throws -> SOCKS5HandshakeStateMachine.Credentials {
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: path),
            let data = FileManager.default.contents(atPath: path)
        else { throw CommandError.configuration("--credentials-file: cannot read \(path)") }
        if let mode = attributes[.posixPermissions] as? Int, mode & 0o077 != 0 {
            throw CommandError.configuration(
                "--credentials-file: \(path) can be read by others; run: chmod 600 '\(path)'"
            )
        }
        let line = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        let parts = line.split(separator: ":", maxSplits: 1)
        guard parts.count == 2, parts[0].utf8.count <= 255, parts[1].utf8.count <= 255 else {
            throw CommandError.configuration("--credentials-file: \(path) does not hold user:password")
        }
        return SOCKS5HandshakeStateMachine.Credentials(user: Array(parts[0].utf8), password: Array(parts[1].utf8))
    }
}
