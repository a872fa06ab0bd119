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
        abstract: "Open local ports that lead to ports of exits.",
        discussion: """
            Takes pairs: where to listen, and where connections go. For programs that know no proxy:

              nws forward 127.0.0.1:5432 NAME:5432 127.0.0.1:2222 NAME:22

            Prints 'forward: HOST:PORT NAME:PORT' for each as soon as it listens.
            """
    )

    @Argument(help: ArgumentHelp("Pairs of HOST:PORT here and NAME:PORT there.", valueName: "pairs"))
    var pairs: [String]

    @Flag(help: "Listen where other machines can connect, too.")
    var allowRemoteClients = false

    @OptionGroup var entry: EntryOptions
    @OptionGroup var admin: AdminOptions
    @OptionGroup var common: CommonOptions
    @OptionGroup var shutdown: ShutdownOptions

    var shutdownTimeout: Int { self.shutdown.shutdownTimeout }

    static let reloadable: Set<String> = ["relay", "exit"]

    func validate() throws {
        guard !self.pairs.isEmpty, self.pairs.count.isMultiple(of: 2) else {
            throw ValidationError("expected pairs: HOST:PORT here, NAME:PORT there.")
        }
    }

    func makeConfiguration(_ settings: Settings, logger: Logger) throws -> EntryConfiguration {
        var configuration = try self.entry.configuration(settings, logger: logger)
        configuration.servesProxy = false
        configuration.allowsRemoteClients = self.allowRemoteClients
        configuration.forwards = try stride(from: 0, to: self.pairs.count, by: 2).map { index in
            let here = try HostAndPort(self.pairs[index], source: "listening address")
            let target = try TargetAddress(self.pairs[index + 1], source: self.pairs[index + 1])
            try Self.check(target, configuration)
            return EntryService.Forward(host: here.host, port: here.port, target: target)
        }
        return configuration
    }

    /// Refuses what no connection could ever reach.
    private static func check(_ target: TargetAddress, _ configuration: EntryConfiguration) throws {
        guard NostrName.looksLikeName(target.hostText) else {
            guard !configuration.exits.isEmpty || configuration.usesPublicExits else {
                throw CommandError.configuration(
                    "\(target.hostText): not a .nostr name, npub or nprofile; for a place on the internet name an exit (--exit)"
                )
            }
            return
        }
        do {
            let name = try NostrName(target.hostText)
            guard !name.relays.isEmpty || !configuration.relays.isEmpty else {
                throw CommandError.configuration(
                    "\(target.hostText): the name carries no relays, and there are none configured (--relay)"
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
        let service = try await self.entry.start(configuration, logger: logger)
        running(service)
        for (forward, address) in zip(configuration.forwards, service.forwardAddresses) {
            Console.line("forward: \(address.shown) \(forward.target)")
        }
    }

    static func name(of running: EntryService) -> String {
        running.forwardAddresses.map(\.shown).joined(separator: ", ")
    }
}
