//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Logging
import NIOCore
import Observability
import Tunnel
import TunnelProtocol

/// `nws forward`
struct ForwardCommand: RoleCommand {
    static let configuration = CommandConfiguration(
        commandName: "forward",
        abstract: "Forward local ports to services of exits.",
        discussion: """
            Takes pairs of a local address and the service to which its connections are forwarded. For programs that \
            do not support proxies:

              nws forward 127.0.0.1:5432 NAME:5432 127.0.0.1:2222 NAME:22

            Prints 'forward: HOST:PORT NAME:PORT' for each pair when it listens.
            """
    )

    @Argument(
        help: ArgumentHelp(
            "Pairs of a local HOST:PORT to listen on and the NAME:PORT to forward to.",
            valueName: "pairs"
        )
    )
    var pairs: [String]

    @Flag(help: "Allow listening on addresses that other machines can connect to.")
    var allowRemoteClients = false

    @OptionGroup var entry: EntryOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    func validate() throws {
        guard !self.pairs.isEmpty, self.pairs.count.isMultiple(of: 2) else {
            throw ValidationError("expected pairs of a local HOST:PORT and a NAME:PORT to forward to.")
        }
    }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        var configuration = try self.entry.configuration(settings, logger: logger)
        configuration.servesProxy = false
        // The user has named the targets.
        configuration.identityExits = nil
        // A key on the command line takes the place of the one that nws join has made.
        if self.entry.hasIdentityArgument { configuration.identities = [:] }
        configuration.allowsRemoteClients = self.allowRemoteClients
        configuration.forwards = try stride(from: 0, to: self.pairs.count, by: 2).map { index in
            let here = try HostAndPort(self.pairs[index], source: "listening address")
            let target = try TargetAddress(self.pairs[index + 1], source: self.pairs[index + 1])
            try Self.check(target, configuration)
            return LocalForward(host: here.host, port: here.port, target: target)
        }
        return configuration
    }

    /// Rejects a target that cannot be reached with this configuration.
    private static func check(_ target: TargetAddress, _ configuration: EntryConfiguration) throws {
        guard NostrName.looksLikeName(target.hostText) else {
            guard !configuration.exits.isEmpty || configuration.usesPublicExits else {
                throw CommandError.configuration(
                    "\(target.hostText): not a .nostr name, npub or nprofile; other destinations require --exit or --public-exits"
                )
            }
            return
        }
        if let alias = Alias(domain: target.hostText) {
            guard configuration.aliases[alias] == nil else { return }
            throw CommandError.configuration("\(target.hostText): no alias has this name; nws alias lists them")
        }
        do {
            let name = try NostrName(target.hostText)
            guard !name.relays.isEmpty || !configuration.relays.isEmpty else {
                throw CommandError.configuration(
                    "\(target.hostText): the name has no relays: use --relay URL, or set NOSTR_RELAYS"
                )
            }
        } catch let error as NostrName.DecodingError {
            throw CommandError.configuration("\(target.hostText): \(error)")
        }
    }

    func start(
        _ configuration: EntryConfiguration,
        logger: Logger,
        running: @Sendable (EntryService) -> Void
    ) async throws {
        let service = try await EntryOptions.start(configuration, logger: logger)
        running(service)
        for (forward, address) in zip(configuration.forwards, service.forwardAddresses) {
            Console.line("forward: \(address.hostAndPort) \(forward.target)")
        }
    }

    static func proxyScript(_ running: EntryService) -> String? { nil }

    static func name(of running: EntryService) -> String {
        running.forwardAddresses.map(\.hostAndPort).joined(separator: ", ")
    }
}
