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

/// Options of everything that opens streams to exits.
struct EntryOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Relay for names that carry none; repeat for several. [NOSTR_RELAYS, separated by ;]",
            valueName: "url"
        )
    )
    var relay: [String] = []

    @Option(
        help: ArgumentHelp(
            "Exit by which other places than .nostr names are reached: a name, npub or nprofile; repeat for several.",
            valueName: "name"
        )
    )
    var exit: [String] = []

    @Flag(
        help:
            "Reach other places by exits that announce themselves on the relays given with --relay. Whoever runs them sees where you go."
    )
    var publicExits = false

    @Option(
        help: ArgumentHelp(
            "File with the secret key that proves to exits who you are, if they ask. No relay sees it. Without it you are nobody.",
            valueName: "file"
        )
    )
    var identity: String?

    @Flag(
        help: ArgumentHelp(
            "Take streams for open before the exit said so; failures are resets then. To exits known to speak sessions the first bytes go with the request: whoever gets the exit's key can read those."
        )
    )
    var optimistic = false

    @OptionGroup var session: SessionOptions
    @OptionGroup var relayClient: RelayClientOptions

    func configuration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        var configuration = EntryConfiguration()
        configuration.relays = try settings.relays(self.relay)
        configuration.relayClient = try self.relayClient.configuration()
        configuration.exits = try self.exit.map { text in
            do {
                return try NostrName(text)
            } catch {
                throw CommandError.configuration("--exit: \(text): \(error)")
            }
        }
        configuration.usesPublicExits = self.publicExits
        guard !self.publicExits || !configuration.relays.isEmpty else {
            throw CommandError.configuration(
                "--public-exits needs relays to look on: give --relay URL, or set NOSTR_RELAYS"
            )
        }
        configuration.session = try self.session.configuration()
        configuration.identity = try self.identity.map { try KeyFile(path: $0).read() }
        configuration.isOptimistic = self.optimistic
        configuration.protocolChoice = self.session.protocolChoice
        configuration.relayAuthenticationKey = try self.session.authenticationKey()
        if let identity = configuration.identity, identity.publicKey == configuration.relayAuthenticationKey?.publicKey
        {
            throw CommandError.configuration(
                "--auth-key and --identity are the same key; relays would learn who you are"
            )
        }
        configuration.remedyText = Self.text(of:)
        configuration.pinsFile = StateFolder.file(
            StateFolder.pins,
            purpose: "what exits speak is remembered until this process ends",
            logger: logger
        )
        return configuration
    }

    /// Starts an entry, and says in the program's words what is in the way.
    func start(_ configuration: EntryConfiguration, logger: Logger) async throws -> EntryService {
        do {
            return try await EntryService.start(
                configuration,
                on: MultiThreadedEventLoopGroup.singleton.next(),
                logger: logger
            )
        } catch let error as ExitPins.DamagedFile {
            throw CommandError.configuration("\(error)")
        } catch let error as EntryService.NotLoopbackError {
            throw CommandError.configuration(
                "\(error); whoever connects there goes out as you. If you mean it, add --allow-remote-clients\(configuration.servesProxy ? ", and a password with --credentials-file" : "")"
            )
        } catch {
            let places =
                (configuration.servesProxy ? ["\(configuration.host):\(configuration.port)"] : [])
                + configuration.forwards.map { "\($0.host):\($0.port)" }
            throw ProcessSetup.bindError(error, address: places.joined(separator: ", "))
        }
    }
}

extension EntryOptions {
    /// A remedy in terms of the options.
    static func text(of remedy: Remedy) -> String {
        switch remedy {
        case .exit: "start the entry with --exit NAME or --public-exits"
        case .relays: "start the entry with --relay and a relay that the exit uses"
        case .identity: "start the entry with --identity, and ask the exit's operator to authorize its npub"
        case .removePin(let exit):
            "if the exit was replaced by a program without sessions, run: nws pins remove \(exit.npub)"
        case .relayAuthenticationKey: "give --auth-key with a key that the relay admits"
        }
    }
}

extension SocketAddress {
    /// `HOST:PORT` as people write it.
    var shown: String {
        TargetAddress.text(host: self.ipAddress ?? "", port: self.port ?? 0)
    }
}
