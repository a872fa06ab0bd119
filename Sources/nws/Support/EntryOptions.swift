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
import Tunnel
import TunnelProtocol

/// Options of the commands that open streams to exits.
struct EntryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp.reloadable(
            "Relay for names without relays; repeat for several. [NOSTR_RELAYS, separated by ;]",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(
        help: ArgumentHelp.reloadable(
            "Exit for all destinations that are not .nostr names, as an alias, name, npub or nprofile; repeat for several.",
            valueName: "name"
        )
    )
    var exit: [String] = []

    @Flag(
        help:
            "For destinations that are not .nostr names, use public exits announced on the relays given with --relay. Their operators see the destinations."
    )
    var publicExits = false

    @Option(
        help: ArgumentHelp(
            "File with the secret key that identifies you to exits that require an identity. Relays do not see it. Default: you connect anonymously.",
            valueName: "file"
        )
    )
    var identity: String?

    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Exit that may learn your identity, as an alias, name, npub or nprofile; repeat for several. The exits given with --exit may learn it, too; announced exits never. Requests with proxy credentials use it only with --credentials-file. connect, forward and ping may use the identity with their targets without this option.",
            valueName: "name"
        )
    )
    var identityFor: [String] = []

    @Flag(
        help: ArgumentHelp(
            "Report streams as open before the exit confirms them, which saves a round trip. Failures then appear as connection resets. The first bytes to a pinned exit are sent with the request, without forward secrecy: anyone who obtains the exit's key can read them."
        )
    )
    var optimistic = false

    @Flag(
        help: ArgumentHelp(
            "Always wait for the exit to confirm that a stream is open. By default, a stream to a service that connected within the last minute is reported as open at once, which saves a round trip; a failure then appears as a connection reset. Streams that can be retried through another exit wait, unless --optimistic is set."
        )
    )
    var confirmStreams = false

    @OptionGroup var session: SessionOptions
    @OptionGroup var direct: DirectOptions
    @OptionGroup var relayClient: RelayClientOptions

    func configuration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        var configuration = EntryConfiguration()
        configuration.relays = try settings.relays(self.relay)
        configuration.relayClient = try self.relayClient.configuration()
        configuration.exits = try self.exit.map { try NostrName($0, option: "--exit") }
        for entry in try AliasFile.stateFile().read() {
            configuration.aliases[entry.alias] = entry.name
            configuration.services[entry.name.publicKey] = entry.services
            // The owner of the exit has invited this device, which made this key for it alone.
            let file = entry.identityFile
            if file.exists { configuration.identities[entry.name.publicKey] = try file.read() }
        }
        configuration.relaysChanged = { exit, relays in AliasFile.stateFile().setRelays(relays, of: exit, logger) }
        configuration.usesPublicExits = self.publicExits
        guard !self.publicExits || !configuration.relays.isEmpty else {
            throw CommandError.configuration(
                "--public-exits requires relays: use --relay URL, or set NOSTR_RELAYS"
            )
        }
        configuration.session = try self.session.configuration()
        configuration.direct = try self.direct.configuration(self.relayClient.list())
        configuration.identity = try self.identity.map { try KeyFile(path: $0).read() }
        guard self.identityFor.isEmpty || configuration.identity != nil else {
            throw CommandError.configuration("--identity-for requires --identity")
        }
        configuration.identityExits = Set(
            try self.identityFor.map { try NostrName($0, option: "--identity-for").publicKey }
                + configuration.exits.map(\.publicKey)
        )
        configuration.isOptimistic = self.optimistic
        configuration.session.opensRecentAtOnce = !self.confirmStreams
        configuration.protocolChoice = self.session.protocolChoice
        configuration.relayAuthenticationKey = try self.session.authenticationKey()
        if let identity = configuration.identity, identity.publicKey == configuration.relayAuthenticationKey?.publicKey
        {
            throw CommandError.configuration(
                "--auth-key and --identity are the same key, which would reveal your identity to relays; use different keys"
            )
        }
        configuration.remedyText = Self.text(of:)
        configuration.pinsFile = StateFolder.file(
            StateFolder.pins,
            purpose: "pinned exits are forgotten when this process ends",
            logger: logger
        )
        configuration.ticketFolder = StateFolder.file(
            "tickets",
            purpose: "new sessions use your identity instead of tickets",
            logger: logger
        )
        return configuration
    }

    /// Whether the identity is given on the command line, and not by a variable or a file.
    var hasIdentityArgument: Bool { self.identity != nil && LayeredArguments.lastAdded["identity"] == nil }

    /// Starts an entry. Its errors are converted to ``CommandError``.
    static func start(_ configuration: EntryConfiguration, logger: Logger) async throws -> EntryService {
        do {
            return try await EntryService.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
        } catch let error as DamagedStateFile {
            throw CommandError.configuration("\(error)")
        } catch let error as NotLoopbackError {
            throw CommandError.configuration(
                "\(error) and use your identity; listen on a loopback address, or add --allow-remote-clients\(configuration.servesProxy ? " and set a password with --credentials-file" : "")"
            )
        } catch {
            let places =
                (configuration.servesProxy ? ["\(configuration.host):\(configuration.port)"] : [])
                + configuration.forwards.map { "\($0.host):\($0.port)" }
            throw ProcessSetup.bindError(error, address: places.joined(separator: ", "))
        }
    }
}

extension EntryConfiguration {
    /// Whether there is an exit for destinations that are not .nostr names.
    var hasExitForHosts: Bool { !self.exits.isEmpty || self.usesPublicExits }
}

extension EntryOptions {
    /// Describes a remedy in terms of command-line options.
    static func text(of remedy: Remedy) -> String {
        switch remedy {
        case .exit: "start the entry with --exit NAME or --public-exits"
        case .relays: "start the entry with --relay URL, for a relay that the exit uses"
        case .identity:
            "ask the exit's owner for an invite, and read it with nws join; or start the entry with --identity FILE and --identity-for NAME, and ask the owner to authorize its npub"
        case .invite: "ask the exit's owner for a new invite (nws invite), and read it with nws join"
        case .removePin(let exit):
            "if the exit was replaced by a program without sessions, run: nws pins remove \(exit.npub)"
        case .relayAuthenticationKey: "use --auth-key FILE, with a key that the relay admits"
        }
    }
}

extension SocketAddress {
    /// The address as `HOST:PORT`, with brackets around IPv6 addresses.
    var hostAndPort: String {
        TargetAddress.text(host: self.ipAddress ?? "", port: self.port ?? 0)
    }
}
