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
    var configuration: EntryConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let pins: ExitPins
    /// Streams that wait for exits to connect.
    let reverse: ReverseRequests
    /// Of exits that were asked to connect.
    let reverseConnections = ConnectionSet(
        limit: EntryCore.maximumReverse,
        limitOfAddress: EntryCore.maximumReverse / 4
    )
    private static let maximumReverse = 1_024
    var gate: EventGate
    private(set) var pool: RelayPool?
    var associations: [ExitAddress: EntryAssociation] = [:]
    /// Those that get no new requests.
    private var retired: [EntryAssociation] = []
    var associationsByKey: [PublicKey: EntryAssociation] = [:]
    /// Exits that speak only NIP-74, and until when that is believed.
    var plainExits: [PublicKey: NIODeadline] = [:]
    var directory: ExitDirectory
    var refusedRelays: Set<RelayURL> = []
    var nextNumber: UInt64 = 0
    /// Client keys that relays hear already, so that a first request need not wait for a subscription.
    var spares: [SecretKey] = []
    static let spareKeys = 4
    /// Names that were asked for lately.
    var names: [String: NostrName] = [:]
    static let rememberedNames = 64
    /// When new ones are made after one was used: not while its request is under way.
    private static let sparesDelay: TimeAmount = .milliseconds(200)
    var isStopped = false
    /// While streams finish before the end.
    var drain: Drain?
    /// Addresses of relays that names carry.
    let namedPolicy: DialPolicy

    /// Connections that nobody asked to be kept apart.
    static let lane = "entry"

    /// - Throws: If the pins cannot be read.
    init(configuration: EntryConfiguration, listensOnLoopback: Bool, loop: any EventLoop, logger: Logger) throws {
        self.pins = try ExitPins(path: configuration.pinsFile)
        self.directory = ExitDirectory(named: configuration.exits)
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.reverse = ReverseRequests(loop: loop)
        self.metrics = TunnelMetrics(logger: logger)
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
                onUp: {
                    bound.value.relayUp($0)
                },
                onDown: { bound.value.relayDown($0, $1) },
                onWritabilityChange: { bound.value.writabilityChanged($0, $1) }
            )
        )
        self.pool = pool
        for url in self.configuration.relays { self.hold(url) }
        self.makeSpares()
        self.discoverLater()
        self.sweepLater()
    }

    /// Takes what can change while streams run.
    func update(_ configuration: EntryConfiguration) {
        let before = self.configuration.relays
        self.configuration.relays = configuration.relays
        self.configuration.exits = configuration.exits
        self.directory.named = configuration.exits
        for url in configuration.relays where !before.contains(url) {
            let key = RelayPool.Key(url: url, lane: Self.lane)
            self.hold(url)
            self.hearSpares(on: key)
        }
        for url in before where !configuration.relays.contains(url) {
            let key = RelayPool.Key(url: url, lane: Self.lane)
            for spare in self.spares { self.pool?.connection(key)?.removeRecipient(spare.publicKey) }
            self.pool?.release(key)
        }
    }

    /// Connects to a configured relay, so that the first request finds it connected.
    private func hold(_ url: RelayURL) {
        _ = self.pool?.use(
            RelayPool.Key(url: url, lane: Self.lane),
            policy: .configured,
            authenticationKey: self.configuration.relayAuthenticationKey ?? .generate()
        )
    }

    // MARK: Spare keys

    func makeSpares() {
        while self.spares.count < Self.spareKeys { self.spares.append(.generate()) }
        for relay in self.pool?.connections(of: Self.lane) ?? [] { self.hearSpares(on: relay) }
    }

    func hearSpares(on relay: RelayPool.Key) {
        guard relay.lane == Self.lane, let connection = self.pool?.connection(relay) else { return }
        for spare in self.spares { connection.addRecipient(spare.publicKey, catchesUp: false) {} }
    }

    /// A fresh client key, heard already where its exit is, with luck.
    func takeSpare(for address: ExitAddress) -> SecretKey {
        guard address.lane == Self.lane, let spare = self.spares.popLast() else { return .generate() }
        // Relays that have nothing to do with the exit need not know what became of the key.
        for relay in self.pool?.connections(of: Self.lane) ?? [] where !address.relays.contains(relay.url) {
            self.pool?.connection(relay)?.removeRecipient(spare.publicKey)
        }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: Self.sparesDelay) {
            if !bound.value.isStopped { bound.value.makeSpares() }
        }
        return spare
    }

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.isReady = !self.isStopped
        status.streams = self.streamCount
        var known: Set<RelayURL> = []
        let keys = self.all.flatMap(\.relays) + (self.pool?.connections(of: Self.lane) ?? [])
        for key in keys {
            guard let connection = self.pool?.connection(key), known.insert(key.url).inserted else { continue }
            status.relays.append(
                TunnelStatus.Relay(url: key.url, isUp: connection.isOpen, error: connection.lastError)
            )
        }
        for connection in self.pool?.all ?? [] { status.add(connection.carriedBytes, of: connection.url) }
        for association in self.all {
            guard let link = association.link else { continue }
            let isSession = if case .session = association.carrier { true } else { false }
            status.add(link) { self.sessionConnection($0, of: association.key)?.url }
            status.peers.append(
                TunnelStatus.Peer(
                    name: association.address.publicKey.npub,
                    isSession: isSession,
                    streams: link.streamCount,
                    age: Int((NIODeadline.now() - association.startedAt).nanoseconds / 1_000_000_000)
                )
            )
        }
        return status
    }

    /// Streams that are not over.
    var streamCount: Int { self.all.reduce(self.reverse.streamCount) { $0 + ($1.link?.streamCount ?? 0) } }

    /// Refuses requests, those that wait among them, and waits for streams that are open.
    func drain(patience: TimeAmount) -> EventLoopFuture<Void> {
        self.failWaiting()
        let drain = Drain(patience: patience, on: self.loop)
        self.drain = drain
        self.logger.info("taking no new streams", metadata: ["open": "\(self.streamCount)"])
        self.streamEnded()
        return drain.future
    }

    func streamEnded() {
        if self.drain != nil, self.streamCount == 0 { self.drain?.finish() }
    }

    private func failWaiting() {
        for association in self.all {
            let waiting = association.waiting
            association.waiting = []
            for request in waiting { request.completion(.failure(.shuttingDown)) }
        }
    }

    /// Ends everything.
    func stop() {
        self.isStopped = true
        self.failWaiting()
        for association in self.all { association.link?.close(.shuttingDown) }
        self.pool?.stop()
        self.associations = [:]
        self.retired = []
        self.associationsByKey = [:]
    }

    // MARK: Paths

    func connection(_ path: PathID, of clientKey: PublicKey) -> RelayConnection? {
        guard let association = self.associationsByKey[clientKey],
            association.relays.indices.contains(path.rawValue)
        else { return nil }
        return self.pool?.connection(association.relays[path.rawValue])
    }

    func pathReady(_ path: PathID, of clientKey: PublicKey) {
        // Deferred: readiness may be reported while the relay is being added.
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.execute {
            let core = bound.value
            guard let association = core.associationsByKey[clientKey],
                let connection = core.connection(path, of: clientKey), connection.hears(clientKey)
            else { return }
            association.ready.insert(path)
            switch association.carrier {
            case .undecided: break
            case .offering, .plain:
                association.link?.addPath(
                    path,
                    PathDescription(url: connection.url, information: connection.information)
                )
            case .session: core.addSessionPath(path, of: association)
            }
            core.serveWaiting(of: association)
        }
    }

    func serveWaiting(of association: EntryAssociation) {
        guard !association.waiting.isEmpty || association.isWanted, !association.ready.isEmpty,
            association.listQuestions == 0,
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
        let link: PeerLink
        switch (association.carrier, association.opening) {
        case (.undecided, .offer(let mayFallBack)):
            association.isWanted = false
            self.offer(association, mayFallBack: mayFallBack, paths: paths)
            return
        case (.undecided, .plain):
            association.isWanted = false
            guard let plain = self.makePlainLink(association) else { return }
            association.carrier = .plain(plain)
            link = plain
        case (.offering, _):
            return
        case (.plain(let known), _), (.session(let known), _):
            link = known
        }
        let waiting = association.waiting
        association.waiting = []
        for request in waiting {
            if self.openReverse(request, association, link, paths) { continue }
            let proxy = DeferredEndpoint(request.endpoint)
            // Only the first request's bytes can have gone with an offer.
            let early = min(association.earlyBytes, request.earlyData.count)
            association.earlyBytes = 0
            guard let id = link.open(request.request, paths: paths, earlyBytes: early, endpoint: proxy) else {
                self.metrics.ended(.tooManyStreams)
                request.completion(.failure(.tooManyStreams))
                continue
            }
            request.completion(.success(OpenedStream(link: link, id: id, earlyBytes: early)))
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

    func giveUp(_ number: UInt64, of clientKey: PublicKey, onlyIfHopeless: Bool) {
        guard let association = self.associationsByKey[clientKey],
            let index = association.waiting.firstIndex(where: { $0.number == number })
        else { return }
        switch association.carrier {
        // Once a session is offered, the offer's own time-out decides.
        case .offering: return
        case .undecided: break
        // Where it was reached before, a relay that restarts is worth waiting for.
        case .plain, .session: if onlyIfHopeless { return }
        }
        let connections = association.relays.compactMap { self.pool?.connection($0) }
        if onlyIfHopeless, !connections.allSatisfy({ !$0.isOpen && $0.lastError != nil }) { return }
        let reasons = connections.map { connection in
            "\(connection.url): \(connection.lastError ?? (connection.isOpen ? "no answer to the subscription" : "connecting"))"
        }
        association.waiting.remove(at: index).completion(.failure(.relaysUnreachable(reasons)))
    }

    // MARK: Forgetting

    var all: [EntryAssociation] { Array(self.associations.values) + self.retired }

    func sweepLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: self.configuration.lingering) {
            guard !bound.value.isStopped else { return }
            bound.value.sweep(after: bound.value.configuration.lingering)
            bound.value.sweepLater()
        }
    }

    /// Forgets exits without streams for `idleTime`, and with them their client keys.
    func sweep(after idleTime: TimeAmount) {
        for association in self.all {
            guard let idleSince = association.idleSince, idleSince + idleTime <= .now() else { continue }
            association.link?.close(nil)
            self.forget(association)
        }
    }

    /// New requests get another association; this one lives as long as its streams.
    func retire(_ association: EntryAssociation) {
        guard self.associations[association.address] === association else { return }
        self.associations[association.address] = nil
        self.retired.append(association)
    }

    /// Lets go of an exit: its keys are erased with the last reference.
    func forget(_ association: EntryAssociation) {
        if self.associations[association.address] === association {
            self.associations[association.address] = nil
        } else if let index = self.retired.firstIndex(where: { $0 === association }) {
            self.retired.remove(at: index)
        } else {
            return
        }
        self.noteRoundTrip(of: association)
        for key in association.keys { self.unregister(key, association) }
        for key in association.relays { self.pool?.release(key) }
        association.link?.abandon()
    }
}
