//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import NIOPosix
import Nostr
import NostrClient
import NostrCrypto
import Observability
import Tunnel
import TunnelProtocol

/// `nws exit`
struct ExitCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "exit",
        abstract: "Publish services under a .nostr name.",
        discussion: """
            Connects to the relays and forwards streams of clients to the services. Prints 'pubkey:', 'npub:', 'name:' \
            and 'nprofile:' when the first relay has accepted the subscription. Clients connect to the name. The exit \
            connects only to its services. A public exit (--public) also connects to destinations that clients choose.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "Relay to use; repeat for several. [NOSTR_RELAYS, separated by ;]",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "URL by which clients reach the relay, if it differs from --relay. With several relays: RELAY=URL; repeat for several.",
            valueName: "url"
        )
    )
    var advertise: [String] = []

    @OptionGroup var serviceOptions: ServiceOptions

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp.reloadable(
            "Clients that may connect: an npub, or a file with lines of the form '[options] npub comment' (see nws key authorize); repeat for several. Default: all clients.",
            valueName: "npub|file"
        )
    )
    var allow: [String] = []

    @Flag(
        help: ArgumentHelp(
            "Accept plain NIP-74 requests to connect directly to an entry at a public address (CONNECTR). These streams are not encrypted."
        )
    )
    var reverseConnections = false

    @Flag(help: "With --reverse-connections: also connect to loopback and private addresses.")
    var allowLocalAddresses = false

    @Flag(
        help: ArgumentHelp(
            "Publish the exit's relay list (NIP-65), so that clients can find the exit by its npub alone. A relay list that was not published by this exit is not replaced."
        )
    )
    var publishRelays = false

    @OptionGroup(title: "Public exits")
    var publicOptions: PublicExitOptions

    @Option(
        help: ArgumentHelp(
            "File with the secret key. It is created if it does not exist. Default: [NOSTR_PRIVATE_KEY], else the key in the state folder.",
            valueName: "file"
        )
    )
    var keyFile: String?

    @Option(help: ArgumentHelp.reloadable("Maximum number of sessions.", valueName: "count"))
    var maxSessions = 1_024

    @Option(help: ArgumentHelp.reloadable("Maximum number of streams per session.", valueName: "count"))
    var maxStreams = 1_024

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum rate of messages from unknown clients, per second. Relays take turns, and messages with more proof of work go first; excess messages wait up to 2 s and are then dropped. Bursts may be twice as large. Requests that no stream follows may arrive at a tenth of this rate. With --allow, the rate is seven times as high, because the exit only decrypts such requests and does not answer them.",
            valueName: "count"
        )
    )
    var maxHandshakesPerSecond = 300

    @Option(
        help: ArgumentHelp(
            "Append one JSON line to this file when a stream or a used session ends: event, began, ended, identity, name, service, client, sent, received, reason. The file has mode 0600 and is opened again on SIGHUP.",
            valueName: "file"
        )
    )
    var auditLog: String?

    @Option(
        help: ArgumentHelp.reloadable(
            "Maximum rate of new streams of one identity, per second. Bursts may be twice as large. Each client without an identity may open a tenth of that, all of them together half of it, and bursts may be five times as large. Excess streams are refused.",
            valueName: "count"
        )
    )
    var maxStreamsPerSecond = 2_000

    @Flag(
        help: ArgumentHelp(
            "Accept early data: the first bytes of a stream, sent with the request. Each is delivered only once, but has no forward secrecy: anyone who obtains this exit's key can read it. Has no effect with --allow."
        )
    )
    var earlyData = false

    @OptionGroup var sessionOptions: SessionOptions
    @OptionGroup var direct: DirectOptions
    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    var watchedFiles: [String] { self.allow.filter { PublicKey(userText: $0) == nil } }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> ExitConfiguration {
        let relays = try settings.relays(self.relay)
        guard !relays.isEmpty else {
            throw CommandError.configuration("no relay configured: use --relay URL, or set NOSTR_RELAYS")
        }
        let services = try self.serviceOptions.services(settings)
        let policy = try self.publicOptions.policy(settings)
        guard !services.isEmpty || policy != nil else {
            throw CommandError.configuration(
                "no service configured: use --service PORT=HOST:PORT or --backend HOST:PORT, or set BACKEND_HOST"
            )
        }
        let key = try self.key(settings)
        var configuration = ExitConfiguration(secretKey: key, relays: relays, services: services)
        configuration.advertisedRelays = try AdvertisedRelays.parse(self.advertise, relays: relays)
        if self.reverseConnections {
            configuration.reverseConnections = self.allowLocalAddresses ? .untrustedAllowingLocal : .untrusted
        }
        guard !self.allowLocalAddresses || self.reverseConnections else {
            throw CommandError.configuration("--allow-local-addresses has no effect without --reverse-connections")
        }
        guard !self.reverseConnections || (self.allow.isEmpty && self.sessionOptions.protocolChoice != .session) else {
            throw CommandError.configuration(
                "--reverse-connections requires plain NIP-74, and cannot be used with --allow or --protocol session"
            )
        }
        configuration.relayClient = try self.relayOptions.configuration()
        configuration.direct = try self.direct.configuration(self.relayOptions.list())
        for (value, option) in [
            (self.maxSessions, "--max-sessions"), (self.maxStreams, "--max-streams"),
            (self.maxHandshakesPerSecond, "--max-handshakes-per-second"),
            (self.maxStreamsPerSecond, "--max-streams-per-second"),
        ] where !(1...1_000_000).contains(value) {
            throw CommandError.configuration("\(option): must be between 1 and 1000000")
        }
        configuration.session = try self.sessionOptions.configuration()
        configuration.session.maximumStreams = self.maxStreams
        configuration.maximumSessions = self.maxSessions
        configuration.handshakesPerSecond = self.maxHandshakesPerSecond
        configuration.connectsPerSecondPerClient = self.maxStreamsPerSecond
        Self.limitStreams(&configuration, logger: logger)
        configuration.takesEarlyData = self.earlyData
        configuration.protocolChoice = self.sessionOptions.protocolChoice
        configuration.policy = policy
        configuration.announces = !self.publicOptions.unannounced
        configuration.access = try self.access(logger)
        configuration.publishesRelays = self.publishRelays
        if configuration.access != nil, configuration.protocolChoice == .nip74 {
            throw CommandError.configuration(
                "--allow cannot be used with --protocol nip74: plain NIP-74 does not identify clients"
            )
        }
        configuration.relayAuthenticationKey = try self.sessionOptions.authenticationKey()
        configuration.registry = FileDeviceRegistry(files: self.watchedFiles.map { AuthorizedKeysFile(path: $0) })
        configuration.auditFile = self.auditLog
        Self.addStateFiles(to: &configuration, logger: logger)
        return configuration
    }

    func start(
        _ configuration: ExitConfiguration,
        logger: Logger,
        running: @Sendable (ExitService) -> Void
    ) async throws {
        try self.keyFile(Settings())?.lock()
        let service = try await Self.startExit(configuration, logger: logger, running: running)
        let name = service.name
        logger.info("exit started", metadata: ["name": "\(name.encoded)"])
        if configuration.access == nil, configuration.policy == nil {
            logger.notice(
                "everyone who knows the name can use the services; --allow limits them to known clients",
                metadata: ["services": "\(configuration.services)"]
            )
        }
        Self.printName(name)
    }

    private func access(_ logger: Logger) throws -> AuthorizedKeys? {
        guard !self.allow.isEmpty else { return nil }
        var access = AuthorizedKeys()
        for entry in self.allow {
            if let key = PublicKey(userText: entry) {
                access.allow(key)
                continue
            }
            let file = AuthorizedKeysFile(path: entry)
            // A mistyped key must not be taken for the name of a file.
            guard file.exists || entry.hasPrefix("npub1") || entry.hasPrefix("nsec1") || !entry.contains("/") else {
                logger.warning(
                    "the access list does not exist yet, so it authorizes nobody; nws key authorize and nws invite --allow create it",
                    metadata: ["file": "\(entry)"]
                )
                continue
            }
            access.merge(try file.read())
        }
        return access
    }

    /// The file of the exit's key; nil if the key is taken from `NOSTR_PRIVATE_KEY`.
    private func keyFile(_ settings: Settings) -> KeyFile? {
        if let path = self.keyFile { return KeyFile(path: path) }
        return settings["NOSTR_PRIVATE_KEY"] == nil ? .stateFile() : nil
    }

    private func key(_ settings: Settings) throws -> SecretKey {
        if let file = self.keyFile(settings) {
            if ProcessSetup.isReloading { return try file.read() }
            // --check-config must not create a key file.
            return self.common.checkConfig && !file.exists ? .generate() : try file.readOrCreate()
        }
        return try KeyFile.parse(settings["NOSTR_PRIVATE_KEY"] ?? "", source: "NOSTR_PRIVATE_KEY")
    }
}
