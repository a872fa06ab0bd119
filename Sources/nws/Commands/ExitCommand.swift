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
import Synchronization
import Tunnel
import TunnelProtocol

/// `nws exit`
struct ExitCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exit",
        abstract: "Make a service reachable through relays.",
        discussion: """
            Connects to the relays and carries TCP between clients and the backend. As soon as one relay took the \
            subscription it prints 'pubkey:', 'npub:', 'name:' and 'nprofile:'; give the name to clients. It dials \
            nothing but the backend, whatever a client asks for.
            """
    )

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Relay to listen on; repeat for several. [NOSTR_RELAYS, separated by ;]", valueName: "url")
    )
    var relay: [String] = []

    @Option(help: ArgumentHelp("Service to connect to. [BACKEND_HOST]", valueName: "host:port"))
    var backend: String?

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
    var maxHandshakesPerSecond = 1_000

    @Flag(
        help: ArgumentHelp(
            "Pass on first bytes that come with a request. They are passed on once, but have no forward secrecy: whoever gets this exit's key can read them."
        )
    )
    var earlyData = false

    @OptionGroup var sessionOptions: SessionOptions
    @OptionGroup var relayOptions: RelayClientOptions
    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reportingErrors {
            ProcessSetup.raiseFileLimit()
            let settings = try Settings()
            try settings.refuseUnsupported()
            let relays = try settings.relays(self.relay)
            guard !relays.isEmpty else {
                throw CommandError.configuration("no relay: give --relay URL, or set NOSTR_RELAYS")
            }
            guard let backend = try settings.backend(self.backend) else {
                throw CommandError.configuration("no service: give --backend HOST:PORT, or set BACKEND_HOST")
            }
            let key = try self.key(settings)
            var configuration = ExitConfiguration(secretKey: key, relays: relays, backend: backend)
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
            configuration.dialectChoice = self.sessionOptions.dialect
            configuration.relayAuthenticationKey = try self.sessionOptions.authenticationKey()
            let logger = self.common.logger("nws.exit")
            configuration.replayFile = StateFolder.file(
                "connects-\(key.publicKey.hex.prefix(16))",
                purpose: "a restart forgets which CONNECTs were dialled, and a relay could have them dialled again",
                logger: logger
            )
            let ready = configuration
            let service = Mutex<ExitService?>(nil)
            try await ProcessSetup.runUntilSignal {
                let started = try await ExitService.start(
                    ready,
                    on: MultiThreadedEventLoopGroup.singleton.next(),
                    logger: logger
                )
                service.withLock { $0 = started }
                let name = started.name
                for relay in name.relaysLeftOut {
                    logger.warning(
                        "relay does not fit the name; the nprofile carries it",
                        metadata: ["relay.url": "\(relay)"]
                    )
                }
                logger.info(
                    "exit starting",
                    metadata: ["domain": "\(name.encoded)", "backend": "\(ready.backend)", "relays": "\(relays.count)"]
                )
                try await started.ready()
                logger.info("exit started", metadata: ["domain": "\(name.encoded)"])
                Console.line("pubkey: \(name.publicKey.hex)")
                Console.line("npub: \(name.publicKey.npub)")
                Console.line("name: \(name.encoded)")
                Console.line("nprofile: \(name.nprofile)")
            } stop: {
                try await service.withLock { $0 }?.stop()
                logger.info("exit stopped")
            }
        }
    }

    /// The key file wins over the environment, and that over the state folder.
    private func key(_ settings: Settings) throws -> SecretKey {
        if let path = self.keyFile {
            let file = KeyFile(path: path)
            let key = try file.readOrCreate()
            try file.lock()
            return key
        }
        if let text = settings["NOSTR_PRIVATE_KEY"] {
            return try KeyFile.parse(text, source: "NOSTR_PRIVATE_KEY")
        }
        let file = KeyFile.stateFile()
        let key = try file.readOrCreate()
        try file.lock()
        return key
    }
}
