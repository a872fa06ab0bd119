//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOConcurrencyHelpers
import SettingsFiles

/// The command line with what the environment and the file add to it: each option has the value of the first of those
/// three that names it.
///
/// Options from below are appended as arguments, so one declaration, one parser and one validation serve all three.
struct LayeredArguments {
    /// What the parser gets.
    let arguments: [String]
    /// Options that the command line does not give: name, and where the value came from.
    let sources: [String: String]
    /// Their values.
    let added: [String: [String]]
    /// The file, if one was named.
    let file: String?
    /// Variables that look like options and are none.
    let unknownVariables: [String]
    /// How many arguments choose the command.
    private let depth: Int

    /// The arguments behind the name of the command.
    var ofCommand: [String] { Array(self.arguments.dropFirst(self.depth)) }

    /// - Parameters:
    ///   - own: The command line without the program's name.
    ///   - environment: Its variables, those of a `.env` file included.
    /// - Throws: ``CommandError``, which names the key that is unknown or unusable.
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
        var unknown: [String] = []
        var added: [String: [String]] = [:]
        var sources: [String: String] = [:]

        let known = catalog.variables
        for (variable, value) in environment.sorted(by: { $0.key < $1.key }) where variable.hasPrefix("NWS_") {
            guard variable != Self.fileVariable else { continue }
            // Other programs may have variables that begin so; a slip of the pen is worth a word.
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
                        "\(file), line \(setting.line): \(setting.name) is no option of nws \(command.commandName)"
                    )
                }
                guard !given.contains(name), sources[name] == nil else { continue }
                let source = "\(file), line \(setting.line)"
                guard option.isRepeating || setting.values.count == 1 else {
                    throw CommandError.configuration("\(source): \(name) takes one value")
                }
                added[name] = try Self.arguments(option, name, setting.values, source: source)
                sources[name] = source
            }
        }
        self.arguments = Array(own[..<end]) + added.sorted { $0.key < $1.key }.flatMap(\.value) + Array(own[end...])
        self.added = added
        self.unknownVariables = unknown
        self.sources = sources
    }

    private static let fileVariable = OptionCatalog.variable("config")

    /// The file that `--config` or its variable names.
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
        // Nothing where something belongs must not pass for leaving it out: of a list of those who are admitted, say.
        guard !values.isEmpty else { throw CommandError.configuration("\(source): \(name) has no value") }
        guard option.isFlag else { return values.map { "--\(name)=\($0)" } }
        switch values.first?.lowercased() {
        case "true", "yes", "on", "1", "t": return ["--\(name)"]
        case "false", "no", "off", "0", "f": return []
        default: throw CommandError.configuration("\(source): \(name) is either true or false")
        }
    }

    // MARK: The running program

    /// Those of this process.
    static func current() throws -> LayeredArguments {
        let own = Array(CommandLine.arguments.dropFirst())
        // Whoever asks for help is helped, whatever lies in the working directory.
        let asksOnly =
            own.first == "help" || own.prefix { $0 != "--" }.contains { ["-h", "--help", "--version"].contains($0) }
        let environment =
            asksOnly ? (try? Settings())?.all ?? ProcessInfo.processInfo.environment : try Settings().all
        let layered = try LayeredArguments(own, environment: environment, catalog: OptionCatalog())
        Self.last.withLockedValue { $0 = layered }
        return layered
    }

    private static let last = NIOLockedValueBox<LayeredArguments?>(nil)

    static var lastUnknown: [String] { Self.last.withLockedValue { $0?.unknownVariables } ?? [] }
    static var lastFile: String? { Self.last.withLockedValue { $0?.file } }
    static var lastAdded: [String: [String]] { Self.last.withLockedValue { $0?.added } ?? [:] }

    /// Says of a message about an option where the option was set, if not on the command line.
    static func explaining(_ message: String) -> String {
        let sources = Self.last.withLockedValue { $0?.sources } ?? [:]
        for (name, source) in sources {
            guard let found = message.range(of: "--\(name)") else { continue }
            // Not the beginning of another option's name.
            if let next = message[found.upperBound...].first, next == "-" || next.isLetter { continue }
            return "\(message) (set by \(source))"
        }
        return message
    }
}
