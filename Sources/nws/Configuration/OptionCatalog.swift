//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation

/// The commands and options of the program, read from their declarations.
///
/// Configuration files, environment variables and the manual page use it, so that there is no second list of options.
struct OptionCatalog {
    /// An option, flag or positional argument of a command.
    struct Option: Decodable {
        struct Name: Decodable {
            let kind: String
            let name: String
        }

        let kind: String
        let isRepeating: Bool
        let names: [Name]?
        let valueName: String?
        let defaultValue: String?
        let abstract: String?
        let shouldDisplay: Bool
        let allValues: [String]?

        /// The name without dashes; nil for a positional argument.
        var name: String? { self.names?.first { $0.kind == "long" }?.name }
        var isFlag: Bool { self.kind == "flag" }

        /// Whether a changed value is applied without a restart.
        var isReloadable: Bool { self.abstract?.hasSuffix(ArgumentHelp.reloadableMark) ?? false }

        /// The environment variable that sets it.
        var variable: String? { self.name.map(OptionCatalog.variable) }
    }

    /// A command with its subcommands.
    struct Command: Decodable {
        let commandName: String
        let abstract: String?
        let discussion: String?
        let shouldDisplay: Bool
        let subcommands: [Command]?
        let arguments: [Option]?

        /// Options that a file or the environment can set.
        var settings: [Option] {
            (self.arguments ?? []).filter { option in
                guard let name = option.name else { return false }
                return !OptionCatalog.commandLineOnly.contains(name)
            }
        }

        /// Names of the options whose changes are applied without a restart.
        var reloadable: Set<String> { Set(self.settings.filter(\.isReloadable).compactMap(\.name)) }

        func option(_ name: String) -> Option? { self.settings.first { $0.name == name } }
    }

    private struct Tool: Decodable {
        let command: Command
    }

    /// Options that can be given only on the command line.
    static let commandLineOnly: Set<String> = [
        "help", "version", "config", "check-config", "generate-completion-script",
    ]

    let root: Command

    /// - Throws: A decoding error if the format in which ArgumentParser describes commands has changed.
    init() throws {
        self.root = try JSONDecoder().decode(Tool.self, from: Data(Self.description().utf8)).command
    }

    /// The commands and options as JSON, as ArgumentParser prints them for `--experimental-dump-help`.
    private static func description() -> String {
        do {
            _ = try NWS.parseAsRoot(["--experimental-dump-help"])
            return ""
        } catch {
            return NWS.message(for: error)
        }
    }

    /// The environment variable of an option, for example `NWS_MAX_STREAMS` for `max-streams`.
    static func variable(_ name: String) -> String {
        "NWS_" + name.uppercased().replacingOccurrences(of: "-", with: "_")
    }

    /// The command that the arguments select, and the number of arguments that select it.
    func command(of arguments: [String]) -> (command: Command, depth: Int) {
        var command = self.root
        var depth = 0
        while depth < arguments.count,
            let next = command.subcommands?.first(where: { $0.commandName == arguments[depth] })
        {
            command = next
            depth += 1
        }
        return (command, depth)
    }

    /// The environment variables of all commands.
    var variables: Set<String> {
        func all(_ command: Command) -> [String] {
            command.settings.compactMap(\.variable) + (command.subcommands ?? []).flatMap(all)
        }
        return Set(all(self.root))
    }
}

extension ArgumentHelp {
    /// The end of the help text of each option whose changes are applied without a restart. The catalog identifies
    /// these options by it.
    static let reloadableMark = "Reloadable."

    /// Creates the help of an option whose changes are applied without a restart.
    static func reloadable(_ abstract: String, valueName: String? = nil) -> ArgumentHelp {
        ArgumentHelp("\(abstract) \(Self.reloadableMark)", valueName: valueName)
    }
}
