//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation

/// The command-line program. Each role and each tool is a subcommand.
@main
struct NWS: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nws",
        abstract: "Tunnel TCP connections through Nostr relays.",
        discussion: """
            'nws share' makes services of this machine reachable for devices that you invite ('nws invite'). 'nws join' \
            enrols a device. 'nws entry', 'nws forward' and 'nws connect' use the services. 'nws exit' and 'nws relay' \
            are for operators.

            A service is found by a .nostr name, which consists of a public key and relays. The machine needs no public \
            address. Data is carried in signed Nostr events (NIP-74) through relays that neither side has to trust, and \
            is encrypted end to end, unless an operator enables CONNECTR.

            Sizes and times can have units: 2M is 2 MiB, 3m is 3 minutes. Without a unit, times are in seconds.

            Options can also be set by environment variables (--max-streams: NWS_MAX_STREAMS; list items are \
            separated by ;), by a .env file in the working directory, and, for commands with --config, by a YAML file \
            (max-streams: 100). The command line has the highest priority, followed by the environment, the .env file \
            and the YAML file. A running exit, entry, forward or relay reads them again when the YAML file changes \
            and on SIGHUP. Changes to options that are marked as reloadable are applied without a restart.
            """,
        version: Version.text,
        subcommands: [
            ShareCommand.self, InviteCommand.self, DevicesCommand.self, JoinCommand.self, AliasCommand.self,
            SSHConfigCommand.self,
            EntryCommand.self, ForwardCommand.self, ConnectCommand.self,
            ExitCommand.self, RelayCommand.self,
            PingCommand.self, DoctorCommand.self, StatusCommand.self, CertCommand.self, ExitsCommand.self,
            KeyCommand.self, NameCommand.self, PinsCommand.self, VersionCommand.self, CompletionCommand.self,
            DemoServiceCommand.self, ManualCommand.self,
        ]
    )

    /// Parses the command line, the environment and the configuration file, and runs the command.
    static func main() async {
        ProcessSetup.openStandardDescriptors()
        ProcessMetrics.install()
        let layered: LayeredArguments
        do {
            layered = try LayeredArguments.current()
        } catch {
            Console.error(Console.printable("nws: \(error)"))
            Self.exit(withError: (error as? CommandError)?.status ?? ExitStatus.failure)
        }
        do {
            var command = try Self.parseAsRoot(layered.arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            if let error = Self.configurationError(for: error, layered) {
                Console.error("nws: \(error.message)")
                Self.exit(withError: error.status)
            }
            Self.exit(withError: error)
        }
    }

    /// Returns the configuration error for a value that the parser rejects and that is not from the command line; nil for
    /// all other errors.
    static func configurationError(for error: any Error, _ layered: LayeredArguments) -> CommandError? {
        let message = Self.message(for: error)
        let explained = layered.explaining(message)
        guard explained != message, Self.exitCode(for: error) != .success else { return nil }
        return .configuration(explained)
    }
}

/// The version of this program.
enum Version {
    static let text = "0.1.0"
}
