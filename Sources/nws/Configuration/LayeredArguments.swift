//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import NIOConcurrencyHelpers
import SettingsFiles

/// The command line, combined with options from the environment and the configuration file.
///
/// The command line has priority over the environment, and the environment over the file. Options from the environment
/// and the file are appended as arguments, so that the same parser and validation apply to all three.
struct LayeredArguments {
    /// The arguments for the parser.
    let arguments: [String]
    /// The source (a variable, or a line of the file) of each option that is not on the command line.
    let sources: [String: String]
    /// The arguments of these options.
    let added: [String: [String]]
    /// Path of the configuration file, if any.
    let file: String?
    /// Options of the command whose changes are applied without a restart.
    let reloadable: Set<String>
    /// Variables with the prefix `NWS_` that do not correspond to an option.
    let unknownVariables: [String]
    /// Number of arguments that select the command.
    private let depth: Int

    /// The arguments after the name of the command.
    var ofCommand: [String] { Array(self.arguments.dropFirst(self.depth)) }

    /// - Parameters:
    ///   - own: The command line without the program's name.
    ///   - environment: The environment variables, including those of the `.env` file.
    /// - Throws: ``CommandError`` if an option is unknown or has an invalid value.
    init(_ own: [String], environment: [String: String], catalog: OptionCatalog) throws {
        let (command, depth) = catalog.command(of: own)
        let end = own.firstIndex(of: "--") ?? own.count
        let given = Set(
            own[depth..<max(depth, end)].compactMap { argument -> String? in
                guard argument.hasPrefix("--") else { return nil }
                return argument.dropFirst(2).split(separator: "=", maxSplits: 1).first.map(String.init)
            }
        )
        let takesFile = command.arguments?.contains { $0.name == "config" } ?? false
        self.file = takesFile ? Self.file(own, environment) : nil
        self.depth = depth
        self.reloadable = command.reloadable
        var unknown: [String] = []
        var added: [String: [String]] = [:]
        var sources: [String: String] = [:]

        let known = catalog.variables
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix("NWS_") {
            guard variable != Self.fileVariable else { continue }
            // An unknown variable may belong to another program, or be a misspelled option. It is only logged.
            if !known.contains(variable) { unknown.append(variable) }
            guard let option = command.settings.first(where: { $0.variable == variable }), let name = option.name,
                !given.contains(name), !value.isEmpty
            else { continue }
            let values =
                option.isRepeating
                ? value.split(separator: ";").map { $0.trimmingCharacters(in: .whitespaces) } : [value]
            added[name] = try Self.arguments(option, name, values, source: variable)
            sources[name] = variable
        }
        if let file = self.file {
            for setting in try CommandError.explainingFiles({ try ConfigurationFile(path: file).settings }) {
                guard let option = command.option(setting.name), let name = option.name else {
                    throw CommandError.configuration(
                        "\(file), line \(setting.line): unknown option \(setting.name) for nws \(command.commandName)\(Suggestion.text(for: setting.name, among: command.settings.compactMap(\.name)))"
                    )
                }
                guard !given.contains(name), sources[name] == nil else { continue }
                let source = "\(file), line \(setting.line)"
                guard option.isRepeating || setting.values.count == 1 else {
                    throw CommandError.configuration("\(source): \(name) must have exactly one value")
                }
                added[name] = try Self.arguments(option, name, setting.values, source: source)
                sources[name] = source
            }
        }
        self.arguments = UnitValue.resolved(
            Array(own[..<end]) + added.sorted { $0.key < $1.key }.flatMap(\.value) + Array(own[end...]),
            of: command
        )
        self.added = added
        self.unknownVariables = unknown
        self.sources = sources
    }

    private static let fileVariable = OptionCatalog.variable("config")

    /// The path of the configuration file, from `--config` or its variable; nil if neither is set.
    private static func file(_ own: [String], _ environment: [String: String]) -> String? {
        for (index, argument) in own.enumerated() {
            if argument == "--" { break }
            if argument == "--config", own.indices.contains(index + 1) { return own[index + 1] }
            if argument.hasPrefix("--config=") { return String(argument.dropFirst("--config=".count)) }
        }
        return environment[Self.fileVariable].flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func arguments(
        _ option: OptionCatalog.Option,
        _ name: String,
        _ values: [String],
        source: String
    ) throws -> [String] {
        // An empty list must not be treated like a missing option. For `allow`, this would admit every client.
        guard !values.isEmpty else { throw CommandError.configuration("\(source): \(name) has no value") }
        guard option.isFlag else { return values.map { "--\(name)=\($0)" } }
        switch values.first?.lowercased() {
        case "true", "yes", "on", "1", "t": return ["--\(name)"]
        case "false", "no", "off", "0", "f": return []
        default: throw CommandError.configuration("\(source): \(name) must be true or false")
        }
    }

    // MARK: The running program

    /// Reads the arguments of this process.
    static func current() throws -> LayeredArguments {
        let own = ProcessArguments.own
        // Help and version must work even if the `.env` file is invalid.
        let asksOnly =
            own.first == "help" || own.prefix { $0 != "--" }.contains { ["-h", "--help", "--version"].contains($0) }
        let environment =
            asksOnly ? (try? Settings())?.all ?? ProcessInfo.processInfo.environment : try Settings().all
        let catalog = try OptionCatalog()
        try Self.checkCommand(own, catalog.root)
        let layered = try LayeredArguments(own, environment: environment, catalog: catalog)
        Self.last.withLockedValue { $0 = layered }
        return layered
    }

    /// Checks that the first words name a command. The parser would complain about the options instead.
    private static func checkCommand(_ own: [String], _ root: OptionCatalog.Command) throws {
        var command = root
        for word in own {
            let names = (command.subcommands ?? []).map(\.commandName)
            // The words of a command without subcommands are its arguments, and so are those of a default subcommand.
            guard !names.isEmpty, !word.hasPrefix("-"), word != "help" else { return }
            guard let next = command.subcommands?.first(where: { $0.commandName == word }) else {
                let shown = (command.subcommands ?? []).filter(\.shouldDisplay).map(\.commandName)
                throw CommandError(
                    status: .validationFailure,
                    message:
                        "unknown command \(word)\(Suggestion.text(for: word, among: shown)) (\(command.commandName == "nws" ? "nws" : "nws \(command.commandName)") --help lists the commands)"
                )
            }
            command = next
        }
    }

    private static let last = NIOLockedValueBox<LayeredArguments?>(nil)

    static var lastUnknown: [String] { Self.last.withLockedValue { $0?.unknownVariables } ?? [] }
    static var lastFile: String? { Self.last.withLockedValue { $0?.file } }
    static var lastAdded: [String: [String]] { Self.last.withLockedValue { $0?.added } ?? [:] }

    /// Adds the source of an option to a message about it, if the option is not from the command line of this process.
    static func explaining(_ message: String) -> String {
        Self.last.withLockedValue { $0 }?.explaining(message) ?? message
    }

    /// Adds the source of an option to a message about it, if the option is not from the command line.
    func explaining(_ message: String) -> String {
        for (name, source) in self.sources {
            guard let found = message.range(of: "--\(name)") else { continue }
            // Skip a match that is only the beginning of another option's name.
            if let next = message[found.upperBound...].first, next == "-" || next.isLetter { continue }
            return "\(message) (set by \(source))"
        }
        return message
    }
}
