//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import TunnelProtocol

extension NostrName {
    /// Parses a name, npub, nprofile or alias from the command line, also as people paste it (``PastedName``).
    init(argument: String) throws {
        do throws(ResolutionError) {
            self = try Self.resolve(argument)
        } catch {
            throw CommandError.failure("\(Self.shown(argument)): \(error.reason)")
        }
    }

    /// Parses a name, npub, nprofile or alias of an option.
    init(_ text: String, option: String) throws {
        do throws(ResolutionError) {
            self = try Self.resolve(text)
        } catch {
            throw CommandError.configuration("\(option): \(Self.shown(text)): \(error.reason)")
        }
    }

    /// An argument as errors show it. An invite, which is secret, is cut.
    private static func shown(_ argument: String) -> String {
        argument.lowercased().contains(InviteCode.prefix) ? InviteCode.prefix + "…" : argument
    }

    private struct ResolutionError: Error {
        let reason: String
    }

    private static func resolve(_ text: String) throws(ResolutionError) -> NostrName {
        let host = PastedName(text)?.host ?? text
        guard !host.lowercased().hasPrefix(InviteCode.prefix) else {
            throw ResolutionError(reason: "this is an invite; run 'nws join' and paste it there")
        }
        do {
            guard let alias = Alias(host) ?? Alias(domain: host) else {
                let name = try NostrName(host)
                // An npub has no relays, but there may be an alias that has some.
                guard name.relays.isEmpty, name.ignoredLabels.isEmpty else { return name }
                return try AliasFile.stateFile().read().first { $0.name.publicKey == name.publicKey }?.name ?? name
            }
            if let entry = try AliasFile.stateFile().entry(alias) { return entry.name }
        } catch {
            throw ResolutionError(reason: "\(error)")
        }
        throw ResolutionError(
            reason: "not a .nostr name, npub or nprofile, and no alias has this name; nws alias lists them"
        )
    }
}

extension TargetAddress {
    /// Parses `NAME:PORT`, also as people paste it (``PastedName``). An alias becomes its domain name, such as `home.nostr`.
    ///
    /// - Parameters:
    ///   - text: The argument.
    ///   - source: The argument or option, for error messages.
    ///   - allowsHosts: Whether host names are allowed, because there is an exit for them. If not, a word without a dot must be
    ///     an alias.
    ///   - defaultPort: The port if the text has none; nil if it must have one.
    ///   - expected: A description of the expected format, for error messages.
    init(
        _ text: String,
        source: String,
        allowsHosts: Bool = true,
        defaultPort: UInt16? = nil,
        expected: String = "NAME:PORT, with an alias, .nostr name, npub or nprofile"
    ) throws {
        guard let pasted = PastedName(text) else {
            throw CommandError.configuration(
                "\(source): the port must be between 1 and 65535; needs \(expected)"
            )
        }
        guard !pasted.host.lowercased().hasPrefix(InviteCode.prefix) else {
            throw CommandError.configuration(
                "\(InviteCode.prefix)…: this is an invite; run 'nws join' and paste it there"
            )
        }
        if !allowsHosts, !NostrName.looksLikeName(pasted.host), Alias(pasted.host) == nil,
            let address = NIP05Address(text.split(separator: ":").first.map(String.init) ?? "")
        {
            throw CommandError.configuration(
                "\(source): \(address.text) is a NIP-05 address; make an alias for it first (nws alias add ALIAS \(address.text)), and use the alias here"
            )
        }
        guard let port = pasted.port ?? defaultPort else {
            throw CommandError.configuration("\(source): no port; needs \(expected)")
        }
        var host = pasted.host
        if let alias = Alias(domain: host) {
            let aliases = try AliasFile.stateFile().read().map(\.alias)
            if !aliases.contains(alias) { throw Self.unknown(alias, aliases, source) }
        }
        // A word without a dot is an alias if there is one, else a host name.
        if let alias = Alias(host) {
            let aliases = try AliasFile.stateFile().read().map(\.alias)
            if aliases.contains(alias) {
                host = alias.domain
            } else if !allowsHosts, !NostrName.looksLikeName(host) {
                throw Self.unknown(alias, aliases, source)
            }
        }
        self.init(host: .domain(host), port: port)
    }

    private static func unknown(_ alias: Alias, _ aliases: [Alias], _ source: String) -> CommandError {
        let suggestion = Suggestion.text(for: alias.text, among: aliases.map(\.text))
        return .configuration("\(source): no alias has this name\(suggestion); nws alias lists them")
    }
}
