//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation

/// The program: one subcommand for each role.
@main
struct NWS: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "nws",
        abstract: "Carry TCP over Nostr relays.",
        discussion: """
            A service behind NAT gets a name made of a public key and relays (nws exit); whoever has the name \
            reaches it through a local proxy (nws entry). Every byte travels as encrypted, signed Nostr \
            events (NIP-74), through relays that neither side has to trust. nws relay is such a relay.

            Every option can also be set by an environment variable (--max-streams: NWS_MAX_STREAMS; lists are \
            separated by ;), by a .env file in the working directory, and, for a command that has --config, by a YAML \
            file (max-streams: 100). The first of those that names an option wins.
            """,
        version: Version.text,
        subcommands: [
            RelayCommand.self, ExitCommand.self, EntryCommand.self, ForwardCommand.self, ConnectCommand.self,
            PingCommand.self, DoctorCommand.self,
            StatusCommand.self, CertCommand.self, ExitsCommand.self,
            KeyCommand.self, NameCommand.self,
            PinsCommand.self,
            DemoServiceCommand.self, ManualCommand.self,
        ]
    )

    /// Parses what the command line, the environment and the file say together, and runs the command.
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
            let message = Self.message(for: error)
            let explained = LayeredArguments.explaining(message)
            if explained != message, Self.exitCode(for: error) != .success {
                // Not a slip of the hand on the command line, but a configuration that cannot be used.
                Console.error("nws: \(explained)")
                Self.exit(withError: ExitStatus.configuration)
            }
            Self.exit(withError: error)
        }
    }
}

/// The version of this program.
enum Version {
    static let text = "0.1.0"
}
