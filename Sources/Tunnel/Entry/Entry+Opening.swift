//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension Entry: StreamOpener {
    func text(of remedy: Remedy) -> String { self.configuration.remedyText(remedy) }

    func open(_ opening: StreamOpening) {
        guard !self.isStopped, self.drain == nil else { return opening.fail(.shuttingDown) }
        do throws(EntryError) {
            let (name, origin) = try self.trusted(self.exit(for: opening))
            let named = Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName))
            let relays = named.isEmpty ? self.configuration.relays : named
            guard !relays.isEmpty else {
                if let label = name.damagedRelay { throw EntryError.invalidName(.damagedRelay(label)) }
                throw EntryError.noRelays
            }
            // Credentials that all clients must send do not isolate them from each other.
            let isIsolated = !opening.request.isolation.isEmpty && self.configuration.credentials == nil
            if isIsolated, self.configuration.identities[name.publicKey] != nil {
                self.clientLog.log(
                    .warning,
                    "the request has proxy credentials, so it is not linked with this device: its key for the exit is not used",
                    [
                        "exit": "\(name.publicKey.npub)",
                        "remedy": "send no credentials",
                    ],
                    topic: .handshakes
                )
            }
            let peer = try self.peers.peer(
                ExitAddress(
                    publicKey: name.publicKey,
                    relays: relays,
                    isolation: opening.request.isolation,
                    allowsIdentity: origin != .announced && !isIsolated
                ),
                policy: named.isEmpty ? .configured : self.policy(for: origin, named)
            )
            peer.open(opening)
        } catch {
            opening.fail(error)
        }
    }

    /// Where the name of an exit is from.
    private enum Origin {
        /// The request contains it.
        case request
        /// The user gave it an alias.
        case alias
        /// The exit announced itself.
        case announced
    }

    /// Treats the full name of an exit that has an alias as the alias: the user has chosen its relays. An npub, which has no
    /// relays, gets those of the alias.
    private func trusted(_ exit: (name: NostrName, origin: Origin)) -> (NostrName, Origin) {
        guard case .request = exit.origin,
            let known = self.configuration.aliases.values.first(where: { $0.publicKey == exit.name.publicKey }),
            exit.name.relays.allSatisfy(known.relays.contains)
        else { return exit }
        return (exit.name.relays.isEmpty ? known : exit.name, .alias)
    }

    /// Which addresses the relays in a name may have.
    private func policy(for origin: Origin, _ relays: [RelayURL]) -> DialPolicy {
        switch origin {
        case .request: self.context.namedPolicy
        // Only the user can have put a local address into an alias.
        case .alias:
            relays.allSatisfy { DialPolicy.untrusted.allows(host: $0.host) }
                ? self.context.namedPolicy : .untrustedAllowingLocal
        // An announcement must not make this node connect to addresses that only this node can reach.
        case .announced: .untrusted
        }
    }

    /// Returns the exit for a request, and where its name is from.
    private func exit(for opening: StreamOpening) throws(EntryError) -> (NostrName, Origin) {
        if case .domain(let domain) = opening.request.target.host, NostrName.looksLikeName(domain) {
            if let alias = Alias(domain: domain) {
                if let name = self.configuration.aliases[alias] { return (name, .alias) }
                // A long label is a damaged key rather than an unknown alias.
                if !domain.lowercased().hasPrefix("npub1"), !domain.lowercased().hasPrefix("nprofile1") {
                    throw .unknownAlias(alias)
                }
            }
            do throws(NostrName.DecodingError) {
                return (try self.decode(domain), .request)
            } catch {
                throw .invalidName(error)
            }
        }
        guard !self.configuration.exits.isEmpty || self.configuration.usesPublicExits else { throw .clearnet }
        guard let exit = self.exits.choose(for: opening.request) else { throw .noPublicExit }
        opening.selected(exit.publicKey)
        return (exit, self.exits.isNamed ? .request : .announced)
    }

    private func decode(_ text: String) throws(NostrName.DecodingError) -> NostrName {
        if let known = self.names[text] { return known }
        let name = try NostrName(text)
        if self.names.count >= Self.rememberedNames { self.names = [:] }
        self.names[text] = name
        return name
    }

    var namedExits: [EntryHomePage.Exit] {
        self.configuration.aliases.map { alias, name in
            EntryHomePage.Exit(alias: alias, name: name, services: self.configuration.services[name.publicKey] ?? [])
        }
    }

    func isIdentified(for request: ProxyRequest) -> Bool {
        guard case .domain(let domain) = request.target.host else { return false }
        let alias = Alias(domain: domain).flatMap { self.configuration.aliases[$0] }
        guard let exit = (alias ?? (try? NostrName(domain)))?.publicKey else { return false }
        return self.peers.all.contains { peer in
            if peer.address.publicKey == exit, case .session(let session) = peer.link {
                session.isIdentified
            } else {
                false
            }
        }
    }

    /// The transcript of the session's handshake with an exit; nil if there is no session.
    func transcript(of exit: PublicKey) -> SessionTranscript? {
        for peer in self.peers.all where peer.address.publicKey == exit {
            if case .session(let session) = peer.link, let transcript = session.firstTranscript { return transcript }
        }
        return nil
    }

    func cancel(_ opening: StreamOpening) {
        for peer in self.peers.all { peer.cancel(opening) }
        self.context.reverse.cancel(opening)
    }

    func exitFailed(_ exit: PublicKey) { self.exits.noteFailure(of: exit) }

    func hasAnotherExit(for request: ProxyRequest) -> Bool { self.exits.choose(for: request) != nil }
}
