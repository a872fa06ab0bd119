//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser

/// `nws manual`: prints the manual page, which is generated from the declarations of the commands.
struct ManualCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual",
        abstract: "Print the manual page (roff, man(7)).",
        shouldDisplay: false
    )

    func run() async throws {
        try await reportingErrors {
            for line in ManualPage(try OptionCatalog()).lines { Console.line(line) }
        }
    }
}

/// The manual page of the program and all its commands, in roff.
struct ManualPage {
    private let catalog: OptionCatalog

    init(_ catalog: OptionCatalog) {
        self.catalog = catalog
    }

    var lines: [String] {
        let root = self.catalog.root
        var lines = [
            ".TH NWS 1 \"\" \"nws \(Version.text)\" \"User Commands\"", ".SH NAME",
            "nws \\- \(Self.escaped(root.abstract ?? ""))", ".SH SYNOPSIS", ".B nws", ".I command",
            ".RI [ options ]", ".SH DESCRIPTION",
        ]
        lines += Self.paragraphs(root.discussion)
        lines.append(".SH COMMANDS")
        lines += self.commands(of: root, prefix: "nws")
        lines += [
            ".SH EXIT STATUS", ".TP", "0", "Success.", ".TP", "1", "Failure. Standard error contains the reason.",
            ".TP",
            "64", "Invalid command line.", ".TP", "69", "The listening address or the key is not available.", ".TP",
            "78", "Invalid configuration.", ".SH FILES", ".TP", "$XDG_STATE_HOME/nws, else ~/.local/state/nws",
            "The state folder: the key, pinned exits, published relay lists, and recent requests (replay protection).",
        ]
        return lines
    }

    private func commands(of command: OptionCatalog.Command, prefix: String) -> [String] {
        (command.subcommands ?? []).filter { $0.shouldDisplay && $0.commandName != "help" }.flatMap { sub -> [String] in
            let name = "\(prefix) \(sub.commandName)"
            var lines = [".SS \(Self.escaped(name))", Self.escaped(sub.abstract ?? "")]
            lines += Self.paragraphs(sub.discussion)
            for option in sub.arguments ?? [] where option.shouldDisplay {
                guard !["help", "version"].contains(option.name ?? "") else { continue }
                lines += Self.lines(option, isSetting: sub.settings.contains { $0.name == option.name })
            }
            return lines + self.commands(of: sub, prefix: name)
        }
    }

    private static func lines(_ option: OptionCatalog.Option, isSetting: Bool) -> [String] {
        let value = option.valueName ?? "value"
        let head =
            option.name.map {
                option.isFlag
                    ? "\\fB\\-\\-\(Self.escaped($0))\\fR"
                    : "\\fB\\-\\-\(Self.escaped($0))\\fR \\fI\(Self.escaped(value))\\fR"
            }
            ?? "\\fI\(Self.escaped(value))\\fR"
        var text = option.abstract ?? ""
        if let values = option.allValues, !values.isEmpty { text += " One of: \(values.joined(separator: ", "))." }
        if let fallback = option.defaultValue, !option.isFlag { text += " Default: \(fallback)." }
        if isSetting, let variable = option.variable, option.name != nil { text += " Variable: \(variable)." }
        return [".TP", head, Self.escaped(text)]
    }

    private static func paragraphs(_ text: String?) -> [String] {
        guard let text else { return [] }
        return text.split(separator: "\n\n").flatMap { paragraph -> [String] in
            let isCode = paragraph.hasPrefix("  ")
            let lines = paragraph.split(separator: "\n").map { Self.escaped(String($0)) }
            return isCode ? [".PP", ".nf"] + lines + [".fi"] : [".PP"] + lines
        }
    }

    /// Escapes text so that roff prints it literally.
    private static func escaped(_ text: String) -> String {
        var escaped = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
        if escaped.hasPrefix(".") || escaped.hasPrefix("'") { escaped = "\\&" + escaped }
        return escaped.replacing("\n", with: " ")
    }
}
