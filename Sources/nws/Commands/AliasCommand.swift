//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import ArgumentParser
import Foundation
import Nostr
import NostrCrypto
import TunnelProtocol

/// `nws alias`
struct AliasCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alias",
        abstract: "Give exits short names.",
        discussion: """
            An alias such as home stands for an exit in every command, and as home.nostr in the proxy and for ssh. It \
            is known only on this machine, to this user. nws join makes one for the exit that it enrols with.
            """,
        subcommands: [List.self, Add.self, Show.self, Remove.self],
        defaultSubcommand: List.self
    )

    /// Describes which aliases are valid.
    static let rule =
        "an alias has 1 to \(Alias.maximumLength) letters, digits and hyphens, for example home"

    /// Parses an alias from the command line, with or without `.nostr`.
    static func alias(_ text: String) throws -> Alias {
        guard let alias = Alias(text) ?? Alias(domain: text) else {
            throw CommandError.failure("\(text): \(Self.rule)")
        }
        return alias
    }

    /// Parses an alias that must exist.
    private static func existing(_ text: String) throws -> AliasEntry {
        let alias = try Self.alias(text)
        guard let entry = try AliasFile.stateFile().entry(alias) else {
            throw CommandError.failure("\(alias): no alias has this name; nws alias lists them")
        }
        return entry
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the aliases.")

        func run() async throws {
            try await reportingErrors {
                let entries = try AliasFile.stateFile().read()
                guard !entries.isEmpty else {
                    return Console.line("There are no aliases. nws join and nws alias add make them.")
                }
                let rows = entries.map { entry in
                    [
                        entry.alias.domain,
                        entry.services.isEmpty ? "-" : entry.services.map(String.init).joined(separator: ","),
                        entry.identityFile.exists ? "yes" : "no", entry.name.publicKey.npub,
                    ]
                }
                Console.table([["alias", "services", "identity", "exit"]] + rows)
            }
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Add an alias for an exit.",
            discussion: """
                The exit is a .nostr name, npub or nprofile, or a NIP-05 address such as alice@example.com. An address \
                is resolved once, over HTTPS. The key that it has now is saved and printed; a later change of the \
                address has no effect.
                """
        )

        @Argument(help: "The alias.")
        var alias: String
        @Argument(help: "The exit: a .nostr name, npub, nprofile or NIP-05 address.")
        var name: String
        @Flag(help: "Replace an alias that exists.")
        var replace = false
        @Option(
            help: ArgumentHelp(
                "File with the secret key that identifies this device to the exit. The key is copied to the state folder. Not needed for exits that you joined with nws join.",
                valueName: "file"
            )
        )
        var identity: String?
        @OptionGroup var relayClient: RelayClientOptions

        func run() async throws {
            try await reportingErrors {
                let alias = try AliasCommand.alias(self.alias)
                var entry: AliasEntry
                if let address = NIP05Address(self.name) {
                    entry = AliasEntry(alias: alias, name: try await address.resolve(self.relayClient))
                    entry.source = address.text
                } else {
                    entry = AliasEntry(alias: alias, name: try NostrName(argument: self.name))
                }
                for label in entry.name.ignoredLabels {
                    Console.error(
                        "nws: ignored \(Console.printable(String(label.prefix(64)))), which is not a relay URL"
                    )
                }
                guard !entry.name.relays.isEmpty || entry.name.ignoredLabels.isEmpty else {
                    throw CommandError.failure("the name contains no relay that can be read; copy it again")
                }
                if let identity {
                    let key = try KeyFile(path: identity).read()
                    let file = entry.identityFile
                    if file.exists, try file.read().publicKey != key.publicKey {
                        guard self.replace else {
                            throw CommandError.failure(
                                "this device has another key for this exit, in \(file.path); add --replace to replace it"
                            )
                        }
                        try FileManager.default.removeItem(atPath: file.path)
                    }
                    try file.create(with: key)
                }
                let made = entry
                try AliasFile.stateFile().edit { entries in
                    if let index = entries.firstIndex(where: { $0.alias == alias }) {
                        guard self.replace else {
                            throw CommandError.failure(
                                "\(alias) already stands for \(entries[index].name.publicKey.npub); add --replace to change it"
                            )
                        }
                        entries.remove(at: index)
                    }
                    entries.append(made)
                }
                AliasCommand.show(made)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show what an alias stands for.")

        @Argument(help: "The alias.")
        var alias: String

        func run() async throws {
            try await reportingErrors { AliasCommand.show(try AliasCommand.existing(self.alias)) }
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Remove an alias.",
            discussion: "The key by which the exit knows this device is kept, unless --forget-key is given."
        )

        @Argument(help: "The alias.")
        var alias: String
        @Flag(help: "Also delete the key that identifies this device to the exit. The device then needs a new invite.")
        var forgetKey = false

        func run() async throws {
            try await reportingErrors {
                let entry = try AliasCommand.existing(self.alias)
                try AliasFile.stateFile().edit { entries in entries.removeAll { $0.alias == entry.alias } }
                if self.forgetKey, entry.identityFile.exists {
                    try FileManager.default.removeItem(atPath: entry.identityFile.path)
                }
                Console.line("removed: \(entry.alias)")
            }
        }
    }

    private static func show(_ entry: AliasEntry) {
        Console.line("alias: \(entry.alias.domain)")
        Console.line("npub: \(entry.name.publicKey.npub)")
        if entry.name.hasUsableText, !entry.name.relays.isEmpty { Console.line("name: \(entry.name.encoded)") }
        for relay in entry.name.relays { Console.line("relay: \(relay)") }
        if entry.name.relays.isEmpty {
            Console.error("nws: the name has no relays; commands need --relay URL, for a relay that the exit uses")
        }
        if !entry.services.isEmpty {
            Console.line("services: \(entry.services.map(String.init).joined(separator: ","))")
        }
        if let source = entry.source { Console.line("source: \(source)") }
        if entry.identityFile.exists { Console.line("key of this device: \(entry.identityFile.path)") }
    }
}
