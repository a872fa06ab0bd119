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

/// Requests for streams, and the exits that they lead to.
extension EntryCore {
    // MARK: Opening

    /// Opens a stream; the completion gets it as soon as the exit was asked, and the endpoint what follows.
    ///
    /// - Parameters:
    ///   - earlyData: What the client sent already.
    ///   - onExit: Called with the exit that was chosen for a place on the internet.
    func open(
        _ proxied: ProxyRequest,
        earlyData: [UInt8] = [],
        endpoint: any StreamEndpoint,
        onExit: (PublicKey) -> Void = { _ in },
        completion: @escaping (Result<OpenedStream, EntryError>) -> Void
    ) {
        guard !self.isStopped, self.drain == nil else { return completion(.failure(.shuttingDown)) }
        let target = proxied.target
        let name: NostrName
        let text: String
        if case .domain(let domain) = target.host, NostrName.looksLikeName(domain) {
            text = domain
            do {
                name = try self.readName(domain)
            } catch {
                return completion(.failure(.invalidName(error)))
            }
        } else {
            guard !self.configuration.exits.isEmpty || self.configuration.usesPublicExits else {
                return completion(.failure(.clearnet))
            }
            guard let exit = self.chooseExit(proxied) else { return completion(.failure(.noPublicExit)) }
            text = target.hostText
            name = exit
            onExit(exit.publicKey)
        }
        if !name.ignoredLabels.isEmpty {
            // Virtual hosts look like this too, so it is no fault.
            self.logger.debug("labels of the name are no relays", metadata: ["count": "\(name.ignoredLabels.count)"])
        }
        // What an exit says of itself must not make us talk to what only we can reach.
        let isAnnounced = proxied.isClearnet && !self.directory.isNamed
        let named = Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName))
        let relays = named.isEmpty ? self.configuration.relays : named
        guard !relays.isEmpty else { return completion(.failure(.noRelays)) }
        let association: EntryAssociation
        do {
            association = try self.association(
                with: ExitAddress(publicKey: name.publicKey, relays: relays, isolation: proxied.isolation),
                policy: named.isEmpty ? .configured : isAnnounced ? .namedByOthers : self.namedPolicy
            )
        } catch {
            return completion(.failure(error))
        }
        self.nextNumber += 1
        let waiting = WaitingRequest(
            number: self.nextNumber,
            request: StreamRequest(destination: text, port: target.port),
            earlyData: earlyData,
            endpoint: endpoint,
            completion: completion
        )
        association.waiting.append(waiting)
        self.serveWaiting(of: association)
        guard association.waiting.contains(where: { $0.number == waiting.number }) else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let key = association.key
        let number = waiting.number
        _ = self.loop.scheduleTask(in: self.configuration.relayPatience) {
            bound.value.giveUp(number, of: key, onlyIfHopeless: true)
        }
        _ = self.loop.scheduleTask(in: self.configuration.relayTimeout) {
            bound.value.giveUp(number, of: key, onlyIfHopeless: false)
        }
    }

    /// Reads a name. Clients ask for the same few again and again.
    private func readName(_ text: String) throws(NostrName.DecodingError) -> NostrName {
        if let known = self.names[text] { return known }
        let name = try NostrName(text)
        if self.names.count >= Self.rememberedNames { self.names = [:] }
        self.names[text] = name
        return name
    }

    /// The client of a request that may still wait is gone. One that an offer speaks for stays: it is stream 1 to the exit,
    /// and its client ends it as soon as it is there.
    func cancel(_ endpoint: any StreamEndpoint) {
        for association in self.all {
            guard case .undecided = association.carrier else { continue }
            association.waiting.removeAll { $0.endpoint === endpoint }
        }
    }

    func association(
        with address: ExitAddress,
        policy: DialPolicy
    ) throws(EntryError) -> EntryAssociation {
        if let association = self.associations[address] {
            guard let since = association.plainSince, self.configuration.dialectChoice != .nip74,
                since + self.configuration.plainMemory <= .now()
            else { return association }
            // Long enough with plain NIP-74: a session is offered again. Streams under way stay where they are.
            self.retire(association)
        }
        self.makeRoom(for: address)
        guard self.all.count < self.configuration.maximumExits else { throw .tooManyExits }
        let association = EntryAssociation(
            address: address,
            ownKey: self.takeSpare(for: address),
            opening: self.opening(with: address.publicKey),
            // Relays that come up later are as others' words as those that the name carries.
            laterPolicy: policy == .configured ? self.namedPolicy : policy,
            gatheringDeadline: .now() + self.configuration.relayGathering
        )
        self.serveLater(association.key, after: self.configuration.relayGathering)
        self.associations[address] = association
        self.register(association.key, association)
        for url in address.relays {
            self.addRelay(url, policy: policy, to: association)
        }
        if policy == .configured { self.askForRelayList(of: association) }
        return association
    }

    /// Forgets exits that nobody uses, the one first that was not used for longest, until another one and its relays have
    /// room.
    private func makeRoom(for address: ExitAddress) {
        let relays = address.relays.count {
            self.pool?.connection(RelayPool.Key(url: $0, lane: address.lane)) == nil
        }
        while self.all.count >= self.configuration.maximumExits || (self.pool?.room ?? 0) < relays {
            let idle = self.all.compactMap { association in association.idleSince.map { (association, $0) } }
            guard let oldest = idle.min(by: { $0.1 < $1.1 })?.0 else { return }
            oldest.link?.close(nil)
            self.forget(oldest)
        }
    }

    func addRelay(_ url: RelayURL, policy: DialPolicy, to association: EntryAssociation) {
        let key = RelayPool.Key(url: url, lane: association.address.lane)
        let path = PathID(rawValue: association.relays.count)
        guard !association.relays.contains(key),
            self.pool?.use(
                key,
                policy: self.configuration.relays.contains(url) ? .configured : policy,
                authenticationKey: self.authenticationKey(url)
            ) != nil
        else { return }
        association.relays.append(key)
        self.hearSpares(on: key)
        for own in association.keys { self.subscribe(own, to: key, path, of: association) {} }
    }

    /// A relay that only others named learns nobody's lasting key, though it asks.
    func authenticationKey(_ url: RelayURL) -> SecretKey {
        self.configuration.relays.contains(url) ? self.configuration.relayAuthenticationKey ?? .generate() : .generate()
    }

    /// Hears messages for one of our keys on a relay, now and after each reconnect.
    func subscribe(
        _ own: PublicKey,
        to relay: RelayPool.Key,
        _ path: PathID,
        of association: EntryAssociation,
        onReady: @escaping () -> Void
    ) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let first = association.key
        // A session sends again what was lost; with NIP-74 it has to be fetched.
        let catchesUp = if case .session = association.carrier { false } else { true }
        self.pool?.connection(relay)?.addRecipient(own, catchesUp: catchesUp) {
            bound.value.pathReady(path, of: first)
            onReady()
        }
    }

    /// Messages for `key` belong to the association.
    func register(_ key: PublicKey, _ association: EntryAssociation) {
        association.keys.insert(key)
        self.associationsByKey[key] = association
    }

    func unregister(_ key: PublicKey, _ association: EntryAssociation) {
        association.keys.remove(key)
        self.associationsByKey[key] = nil
        for relay in association.relays { self.pool?.connection(relay)?.removeRecipient(key) }
    }
}
