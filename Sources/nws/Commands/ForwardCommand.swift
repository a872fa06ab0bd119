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
            return EntryService.Forward(
                host: here.host,
                port: here.port,
                target: try TargetAddress(self.pairs[index + 1], source: self.pairs[index + 1])
            )
        }
        return configuration
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
