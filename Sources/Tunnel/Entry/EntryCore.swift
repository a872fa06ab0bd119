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

/// Everything of an entry that lives on its loop: exits it talks to, the relays it uses, and who waits for what.
final class EntryCore {
    let configuration: EntryConfiguration
    let loop: any EventLoop
    private let logger: Logger
    let metrics = TunnelMetrics()
    private var gate: EventGate
    private(set) var pool: RelayPool?
    private var associations: [ExitAddress: EntryAssociation] = [:]
    private(set) var associationsByKey: [PublicKey: EntryAssociation] = [:]
    private var nextNumber: UInt64 = 0
    private var isStopped = false
    /// Addresses of relays that names carry.
    let namedPolicy: DialPolicy

    /// Keeps connections of different purposes apart; the session dialect will use others.
    static let lane = "entry"

    init(configuration: EntryConfiguration, listensOnLoopback: Bool, loop: any EventLoop, logger: Logger) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.gate = EventGate(metrics: self.metrics, logger: logger)
        self.namedPolicy =
            configuration.allowsLocalRelays ?? listensOnLoopback ? .namedByOthersAllowingLocal : .namedByOthers
    }

    /// Starts connecting to the configured relays and sweeping.
    func start() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let pool = RelayPool(
            configuration: self.configuration.relayClient,
            lingering: self.configuration.lingering,
            loop: self.loop,
            logger: self.logger,
            callbacks: RelayPool.Callbacks(
                onEvent: { bound.value.receive($0, $1) },
                onUp: { bound.value.logger.info("relay up", metadata: ["relay.url": "\($0.url)"]) },
                onDown: { bound.value.relayDown($0, $1) },
                onWritabilityChange: { bound.value.writabilityChanged($0, $1) }
            )
        )
        self.pool = pool
        for url in self.configuration.relays {
            // Held for as long as the entry runs, so that the first request finds them connected.
            _ = pool.use(
                RelayPool.Key(url: url, lane: Self.lane),
                policy: .configured,
                authenticationKey: .generate()
            )
        }
        self.sweepLater()
    }

    /// Ends everything.
    func stop() {
        self.isStopped = true
        for association in self.associations.values {
            for waiting in association.waiting { waiting.completion(.failure(.shuttingDown)) }
            association.waiting = []
            association.link.resetAll(.shuttingDown)
        }
        self.pool?.stop()
        self.associations = [:]
        self.associationsByKey = [:]
    }

    // MARK: Opening

    /// Opens a stream to `target`; the completion gets it as soon as the exit was asked, and the endpoint what follows.
    func open(
        _ target: TargetAddress,
        endpoint: any StreamEndpoint,
        completion: @escaping (Result<(PeerLink, StreamID), EntryError>) -> Void
    ) {
        guard !self.isStopped else { return completion(.failure(.shuttingDown)) }
        guard case .domain(let text) = target.host, NostrName.looksLikeName(text) else {
            return completion(.failure(.clearnet))
        }
        let name: NostrName
        do {
            name = try NostrName(text)
        } catch {
            return completion(.failure(.invalidName(error)))
        }
        if !name.ignoredLabels.isEmpty {
            // Virtual hosts look like this too, so it is no fault.
            self.logger.debug("labels of the name are no relays", metadata: ["count": "\(name.ignoredLabels.count)"])
        }
        let named = Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName))
        let relays = named.isEmpty ? self.configuration.relays : named
        guard !relays.isEmpty else { return completion(.failure(.noRelays)) }
        let association: EntryAssociation
        do {
            association = try self.association(
                with: ExitAddress(publicKey: name.publicKey, relays: relays),
                policy: named.isEmpty ? .configured : self.namedPolicy
            )
        } catch {
            return completion(.failure(error))
        }
        self.nextNumber += 1
        let waiting = WaitingRequest(
            number: self.nextNumber,
            port: target.port,
            endpoint: endpoint,
            completion: completion
        )
        association.waiting.append(waiting)
        self.serveWaiting(of: association)
        guard association.waiting.contains(where: { $0.number == waiting.number }) else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let key = association.link.ownKey.publicKey
        let number = waiting.number
        _ = self.loop.scheduleTask(in: self.configuration.relayPatience) {
            bound.value.giveUp(number, of: key, onlyIfHopeless: true)
        }
        _ = self.loop.scheduleTask(in: self.configuration.relayTimeout) {
            bound.value.giveUp(number, of: key, onlyIfHopeless: false)
        }
    }

    private func association(
        with address: ExitAddress,
        policy: DialPolicy
    ) throws(EntryError) -> EntryAssociation {
        if let association = self.associations[address] { return association }
        if self.associations.count >= self.configuration.maximumExits { self.sweep(after: .zero) }
        guard self.associations.count < self.configuration.maximumExits else { throw .tooManyExits }
        let clientKey = SecretKey.generate()
        let name = NostrName(publicKey: address.publicKey, relays: address.relays)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let clientPublicKey = clientKey.publicKey
        let link: PeerLink
        do {
            link = try PeerLink(
                peer: address.publicKey,
                ownKey: clientKey,
                dialect: NIP74Dialect(
                    role: .entry(name: name.encoded),
                    configuration: self.configuration.dialect
                ),
                loop: self.loop,
                metrics: self.metrics,
                logger: self.logger,
                connections: { bound.value.connection($0, of: clientPublicKey) }
            )
        } catch {
            throw .invalidName(.invalidKey)
        }
        let association = EntryAssociation(
            address: address,
            link: link,
            gatheringDeadline: .now() + self.configuration.relayGathering
        )
        self.serveLater(clientPublicKey, after: self.configuration.relayGathering)
        self.associations[address] = association
        self.associationsByKey[clientPublicKey] = association
        for url in address.relays {
            self.addRelay(url, policy: policy, to: association)
        }
        if policy == .configured { self.askForRelayList(of: association) }
        return association
    }

    func addRelay(_ url: RelayURL, policy: DialPolicy, to association: EntryAssociation) {
        let key = RelayPool.Key(url: url, lane: Self.lane)
        let path = PathID(rawValue: association.relays.count)
        guard !association.relays.contains(key),
            let connection = self.pool?.use(key, policy: policy, authenticationKey: .generate())
        else { return }
        association.relays.append(key)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let clientKey = association.link.ownKey.publicKey
        connection.addRecipient(clientKey) { bound.value.pathReady(path, of: clientKey) }
    }

    private func connection(_ path: PathID, of clientKey: PublicKey) -> RelayConnection? {
        guard let association = self.associationsByKey[clientKey],
            association.relays.indices.contains(path.rawValue)
        else { return nil }
        return self.pool?.connection(association.relays[path.rawValue])
    }

    private func pathReady(_ path: PathID, of clientKey: PublicKey) {
        // Deferred: readiness may be reported while the relay is being added.
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute {
            let core = bound.value
            guard let association = core.associationsByKey[clientKey],
                let connection = core.connection(path, of: clientKey), connection.hears(clientKey)
            else { return }
            association.link.addPath(
                path,
                PathDescription(url: connection.url, information: connection.information)
            )
            association.ready.insert(path)
            core.serveWaiting(of: association)
        }
    }

    func serveWaiting(of association: EntryAssociation) {
        guard !association.waiting.isEmpty, !association.ready.isEmpty, association.listQuestions == 0,
            !self.isGathering(association)
        else { return }
        if let deadline = association.listedDeadline, deadline > .now(),
            association.ready.isDisjoint(with: association.listed)
        {
            return
        }
        // What the exit says of itself first, then the name's order, which is its preference too.
        let paths = association.ready.sorted {
            let (left, right) = (association.listed.contains($0), association.listed.contains($1))
            return left != right ? left : $0.rawValue < $1.rawValue
        }
        let waiting = association.waiting
        association.waiting = []
        for request in waiting {
            let proxy = DeferredEndpoint(request.endpoint)
            let id = association.link.open(port: request.port, paths: paths, endpoint: proxy)
            request.completion(.success((association.link, id)))
            proxy.release()
        }
    }

    func serveLater(_ clientKey: PublicKey, after delay: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: delay) {
            guard let association = bound.value.associationsByKey[clientKey] else { return }
            bound.value.serveWaiting(of: association)
        }
    }

    /// Whether a relay of the exit may still come up without having failed, and is worth waiting for.
    private func isGathering(_ association: EntryAssociation) -> Bool {
        guard association.gatheringDeadline > .now() else { return false }
        return association.relays.indices.contains { index in
            guard !association.ready.contains(PathID(rawValue: index)) else { return false }
            return self.pool?.connection(association.relays[index])?.lastError == nil
        }
    }

    private func giveUp(_ number: UInt64, of clientKey: PublicKey, onlyIfHopeless: Bool) {
        guard let association = self.associationsByKey[clientKey],
            let index = association.waiting.firstIndex(where: { $0.number == number })
        else { return }
        let connections = association.relays.compactMap { self.pool?.connection($0) }
        if onlyIfHopeless, !connections.allSatisfy({ !$0.isOpen && $0.lastError != nil }) { return }
        let reasons = connections.map { connection in
            "\(connection.url): \(connection.lastError ?? (connection.isOpen ? "no answer to the subscription" : "connecting"))"
        }
        association.waiting.remove(at: index).completion(.failure(.relaysUnreachable(reasons)))
    }

    // MARK: Relays

    private func receive(_ key: RelayPool.Key, _ received: ReceivedEvent) {
        let event = received.event
        guard let recipient = self.gate.recipient(of: event) else { return }
        guard let association = self.associationsByKey[recipient],
            let index = association.relays.firstIndex(of: key)
        else {
            self.metrics.rejected(.wrongRecipient)
            return
        }
        guard event.pubkey == association.address.publicKey else {
            self.metrics.rejected(.wrongAuthor)
            return
        }
        guard self.gate.admit(event) else { return }
        association.link.receive(event, path: PathID(rawValue: index))
    }

    private func relayDown(_ key: RelayPool.Key, _ reason: String) {
        self.logger.info("relay down", metadata: ["relay.url": "\(key.url)", "reason": "\(reason)"])
        for association in self.associations.values {
            guard let index = association.relays.firstIndex(of: key) else { continue }
            let path = PathID(rawValue: index)
            association.ready.remove(path)
            association.link.removePath(path)
            self.serveWaiting(of: association)
        }
    }

    private func writabilityChanged(_ key: RelayPool.Key, _ isWritable: Bool) {
        for association in self.associations.values {
            guard let index = association.relays.firstIndex(of: key) else { continue }
            association.link.setWritable(PathID(rawValue: index), isWritable)
        }
    }

    // MARK: Forgetting

    private func sweepLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: self.configuration.lingering) {
            guard !bound.value.isStopped else { return }
            bound.value.sweep(after: bound.value.configuration.lingering)
            bound.value.sweepLater()
        }
    }

    /// Forgets exits without streams for `idleTime`, and with them their client keys.
    private func sweep(after idleTime: TimeAmount) {
        for (address, association) in self.associations {
            guard association.waiting.isEmpty, association.link.isIdle, let idleSince = association.link.idleSince,
                idleSince + idleTime <= .now()
            else { continue }
            let clientKey = association.link.ownKey.publicKey
            for key in association.relays {
                self.pool?.connection(key)?.removeRecipient(clientKey)
                self.pool?.release(key)
            }
            association.link.resetAll(.idle)
            self.associations[address] = nil
            self.associationsByKey[clientKey] = nil
        }
    }
}
