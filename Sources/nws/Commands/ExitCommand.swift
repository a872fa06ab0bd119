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
        abstract: "Make a service reachable through relays.",
        discussion: """
            Connects to the relays and carries TCP between clients and services. As soon as one relay took the \
            subscription it prints 'pubkey:', 'npub:', 'name:' and 'nprofile:'; give the name to clients. It dials \
            nothing but its services, whatever a client asks for, unless it is --public.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to listen on; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Address of the relay for clients, where the exit itself uses another; with several relays RELAY=ADDRESS. Repeat for several.",
            valueName: "url"
        )
    )
    var advertise: [String] = []

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Service for one port: 22=127.0.0.1:22, or 80=unix:/run/web.sock; repeat for several.",
            valueName: "port=host:port"
        )
    )
    var service: [String] = []

    @Option(
        help: ArgumentHelp(
            "Service for every port that has none of its own: HOST:PORT or unix:PATH. [BACKEND_HOST]",
            valueName: "host:port"
        )
    )
    var backend: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "End TLS in front of the service at this port, with a certificate that clients can check (nws cert); repeat for several.",
            valueName: "port"
        )
    )
    var tls: [UInt16] = []

    @Option(
        help: ArgumentHelp(
            "The reference's way to say --service PORT=TARGET --tls PORT: with --target.",
            valueName: "port"
        )
    )
    var port: UInt16?

    @Option(help: ArgumentHelp("With --port: HOST:PORT or http://HOST:PORT of the service.", valueName: "target"))
    var target: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Admit only these clients: an npub, or a file with one '[options] npub comment' a line (see nws key authorize); repeat for several. Read again when it changes.",
            valueName: "npub|file"
        )
    )
    var allow: [String] = []

    @Flag(
        help: ArgumentHelp(
            "Connect to entries that ask for it in plain NIP-74 (CONNECTR), on addresses of the internet. Such streams are not encrypted."
        )
    )
    var reverseConnections = false

    @Flag(help: "With --reverse-connections: connect to loopback and private addresses, too.")
    var allowLocalAddresses = false

    @Flag(
        help: ArgumentHelp(
            "Publish the exit's relays as its list (NIP-65), so that its npub alone is enough to find it. A list that this exit did not write is left alone."
        )
    )
    var publishRelays = false

    @OptionGroup(title: "Public exits")
    var publicOptions: PublicExitOptions

    @Option(
        help: ArgumentHelp(
            "File with the secret key, created if it is missing. Without it: [NOSTR_PRIVATE_KEY], else the key in the state folder.",
            valueName: "file"
        )
    )
    var keyFile: String?

    @Option(help: ArgumentHelp("Sessions at once.", valueName: "count"))
    var maxSessions = 1_024

    @Option(help: ArgumentHelp("Streams of one session at once.", valueName: "count"))
    var maxStreams = 1_024

    @Option(
        help: ArgumentHelp(
            "Messages a second from clients that are not known yet; what is beyond is dropped unread.",
            valueName: "count"
        )
    )
    var maxHandshakesPerSecond = 300

    @Flag(
        help: ArgumentHelp(
            "Pass on first bytes that come with a request. They are passed on once, but have no forward secrecy: whoever gets this exit's key can read them."
        )
    )
    var earlyData = false

    @OptionGroup var sessionOptions: SessionOptions
    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    static let reloadable: Set<String> = [
        "service", "backend", "allow", "rule", "relay", "advertise", "max-sessions", "max-streams",
        "max-handshakes-per-second", "max-streams-per-client", "max-connects-per-second", "max-rate-per-client",
        "max-rate",
    ]

    func watchedFiles(_ configuration: ExitConfiguration) -> [String] {
        self.allow.filter { PublicKey(userText: $0) == nil }
    }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> ExitConfiguration {
        let relays = try settings.relays(self.relay)
        guard !relays.isEmpty else {
            throw CommandError.configuration("no relay: give --relay URL, or set NOSTR_RELAYS")
        }
        let services = try self.services(settings)
        let policy = try self.publicOptions.policy(settings)
        guard !services.isEmpty || policy != nil else {
            throw CommandError.configuration(
                "no service: give --service PORT=HOST:PORT or --backend HOST:PORT, or set BACKEND_HOST"
            )
        }
        let key = try self.key(settings)
        var configuration = ExitConfiguration(secretKey: key, relays: relays, services: services)
        configuration.advertisedRelays = try self.advertised(relays)
        if self.reverseConnections {
            configuration.reverseConnections = self.allowLocalAddresses ? .namedByOthersAllowingLocal : .namedByOthers
        }
        guard !self.allowLocalAddresses || self.reverseConnections else {
            throw CommandError.configuration("--allow-local-addresses has no effect without --reverse-connections")
        }
        guard !self.reverseConnections || (self.allow.isEmpty && self.sessionOptions.protocolChoice != .session) else {
            throw CommandError.configuration(
                "--reverse-connections is for plain NIP-74, which is not served with --allow or --protocol session"
            )
        }
        configuration.relayClient = try self.relayOptions.configuration()
        for (value, option) in [
            (self.maxSessions, "--max-sessions"), (self.maxStreams, "--max-streams"),
            (self.maxHandshakesPerSecond, "--max-handshakes-per-second"),
        ] where !(1...1_000_000).contains(value) {
            throw CommandError.configuration("\(option): expected 1 to 1000000")
        }
        configuration.session = try self.sessionOptions.configuration()
        configuration.session.maximumStreams = self.maxStreams
        configuration.maximumSessions = self.maxSessions
        configuration.handshakesPerSecond = self.maxHandshakesPerSecond
        configuration.takesEarlyData = self.earlyData
        configuration.protocolChoice = self.sessionOptions.protocolChoice
        configuration.policy = policy
        configuration.announces = !self.publicOptions.unannounced
        configuration.access = try self.access()
        configuration.publishesRelays = self.publishRelays
        if self.publishRelays {
            configuration.relayListFile = StateFolder.file(
                "relay-lists-\(key.publicKey.hex.prefix(16))",
                purpose: "a restart does not know the relay list that this exit published, and leaves it as it is",
                logger: logger
            )
        }
        if configuration.access != nil, configuration.protocolChoice == .nip74 {
            throw CommandError.configuration(
                "--allow needs sessions: plain NIP-74 (--protocol nip74) cannot tell who a client is"
            )
        }
        configuration.relayAuthenticationKey = try self.sessionOptions.authenticationKey()
        configuration.remedyText = EntryOptions.text(of:)
        configuration.replayFile = StateFolder.file(
            "connects-\(key.publicKey.hex.prefix(16))",
            purpose: "a restart forgets which CONNECTs were dialled, and a relay could have them dialled again",
            logger: logger
        )
        return configuration
    }

    func start(
        _ configuration: ExitConfiguration,
        logger: Logger,
        running: @Sendable (ExitService) -> Void
    ) async throws {
        try self.keyFile(Settings())?.lock()
        // Two exits with one key would both answer.
        try KeyFile.lock(configuration.secretKey.publicKey)
        let service = try await ExitService.start(
            configuration,
            on: MultiThreadedEventLoopGroup.singleton.next(),
            logger: logger
        )
        running(service)
        let name = service.name
        for relay in name.relaysLeftOut {
            logger.warning(
                "relay does not fit the name; the nprofile carries it",
                metadata: ["relay.url": "\(relay)"]
            )
        }
        logger.info(
            "exit starting",
            metadata: [
                "domain": "\(name.encoded)", "services": "\(configuration.services)",
                "relays": "\(configuration.relays.count)",
            ]
        )
        try await service.ready()
        logger.info("exit started", metadata: ["domain": "\(name.encoded)"])
        Console.line("pubkey: \(name.publicKey.hex)")
        Console.line("npub: \(name.publicKey.npub)")
        Console.line("name: \(name.encoded)")
        Console.line("nprofile: \(name.nprofile)")
    }

    static func name(of running: ExitService) -> String { running.name.encoded }

    static func report(_ running: ExitService, into report: inout StatusReport) async {
        guard let status = try? await running.status() else { return }
        report.take(status)
    }

    static func reload(_ running: ExitService, _ configuration: ExitConfiguration, logger: Logger) async throws {
        let before = running.name
        try await running.update(configuration)
        if running.name != before {
            logger.notice("the exit has another name now", metadata: ["name": "\(running.name.encoded)"])
        }
    }

    static func stop(_ running: ExitService, patience: TimeAmount, logger: Logger) async throws {
        try await running.stop(patience: patience)
        logger.info("exit stopped")
    }

    /// Which address clients get for which relay.
    private func advertised(_ relays: [RelayURL]) throws -> [RelayURL: RelayURL] {
        var advertised: [RelayURL: RelayURL] = [:]
        for text in self.advertise {
            let own: RelayURL
            let address: RelayURL
            // A URL may have = in it, too.
            if let split = text.firstRange(of: "=ws"), let first = try? RelayURL(String(text[..<split.lowerBound])) {
                own = first
                address = try Settings.relay(
                    String(text[text.index(after: split.lowerBound)...]),
                    source: "--advertise"
                )
                guard relays.contains(own) else {
                    throw CommandError.configuration("--advertise: \(own) is none of the relays (--relay)")
                }
            } else {
                address = try Settings.relay(text, source: "--advertise")
                guard relays.count == 1, let only = relays.first else {
                    throw CommandError.configuration(
                        "--advertise: \(text): say for which of the relays: RELAY=\(text)"
                    )
                }
                own = only
            }
            guard advertised.updateValue(address, forKey: own) == nil else {
                throw CommandError.configuration("--advertise: \(own) has two addresses")
            }
        }
        return advertised
    }

    private func services(_ settings: Settings) throws -> ExitServices {
        var services = try settings.services(self.service, backend: self.backend)
        services.tlsPorts = Set(self.tls)
        guard (self.port == nil) == (self.target == nil) else {
            throw CommandError.configuration("--port and --target belong together")
        }
        if let port, var target {
            guard services.byPort[port] == nil else {
                throw CommandError.configuration("--port: port \(port) has a service already")
            }
            for scheme in ["http://", "tcp://"] where target.hasPrefix(scheme) { target.removeFirst(scheme.count) }
            if target.hasSuffix("/") { target.removeLast() }
            services.byPort[port] = try Settings.backend(
                target.contains(":") ? target : "\(target):80",
                source: "--target"
            )
            services.tlsPorts.insert(port)
        }
        for port in services.tlsPorts where services.backend(for: port) == nil {
            throw CommandError.configuration("--tls: there is no service at port \(port)")
        }
        return services
    }

    private func access() throws -> AuthorizedKeys? {
        guard !self.allow.isEmpty else { return nil }
        var access = AuthorizedKeys()
        for entry in self.allow {
            if let key = PublicKey(userText: entry) {
                access.allow(key)
            } else {
                access.merge(try AuthorizedKeysFile(path: entry).read())
            }
        }
        return access
    }

    /// The key file wins over the environment, and that over the state folder.
    private func keyFile(_ settings: Settings) -> KeyFile? {
        if let path = self.keyFile { return KeyFile(path: path) }
        return settings["NOSTR_PRIVATE_KEY"] == nil ? .stateFile() : nil
    }

    private func key(_ settings: Settings) throws -> SecretKey {
        if let file = self.keyFile(settings) {
            if ProcessSetup.isReloading { return try file.read() }
            // A check leaves nothing behind.
            return self.common.checkConfig && !file.exists ? .generate() : try file.readOrCreate()
        }
        return try KeyFile.parse(settings["NOSTR_PRIVATE_KEY"] ?? "", source: "NOSTR_PRIVATE_KEY")
    }
}
