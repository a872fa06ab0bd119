//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The state of an entry on its event loop. Connects relays, exit peers and proxy clients, and applies new
/// configurations.
///
/// ``EntryService`` is its thread-safe interface.
final class Entry {
    private static let rememberedNames = 64
    private static let maximumReverseConnections = 1_024

    private let context: EntryContext
    private let peers: PeerTable
    private let exits: ExitSelector
    /// A cache of decoded names, because clients request the same names repeatedly.
    private var names: [String: NostrName] = [:]
    private var drain: Drain?
    private var isStopped = false
    private var sweep: Scheduled<Void>?
    /// Holds the pool's delegate, which the pool does not retain.
    private let relayLog: RelayLog
    /// Incoming connections of exits that were requested to connect (CONNECTR).
    let reverseConnections = ConnectionSet(
        limit: Entry.maximumReverseConnections,
        limitOfAddress: Entry.maximumReverseConnections / 4
    )

    var loop: any EventLoop { self.context.loop }
    var configuration: EntryConfiguration { self.context.configuration }
    var metrics: TunnelMetrics { self.context.metrics }
    var logger: Logger { self.context.logger }
    /// For messages that clients can cause any number of times.
    let clientLog: LimitedLogger

    /// - Throws: If the file of pinned exits cannot be read.
    init(configuration: EntryConfiguration, loop: any EventLoop, logger: Logger) throws {
        self.relayLog = RelayLog(logger: logger)
        self.clientLog = LimitedLogger(logger)
        let pool = RelayPool(
            configuration: configuration.relayClient,
            lingering: configuration.lingering,
            loop: loop,
            logger: logger,
            delegate: self.relayLog
        )
        self.context = EntryContext(
            configuration: configuration,
            pins: try ExitPins(path: configuration.pinsFile),
            pool: pool,
            loop: loop,
            metrics: TunnelMetrics(logger: logger),
            logger: logger
        )
        self.peers = PeerTable(context: self.context)
        self.exits = ExitSelector(context: self.context, peers: self.peers)
        self.peers.delegate = self
        self.relayLog.delegate = self
        self.context.reverse.delegate = self
    }

    /// Connects to the configured relays.
    func start() {
        for url in self.configuration.relays { _ = self.context.use(url, in: self.context.lane, policy: .configured) }
        self.context.keys.fill()
        self.exits.start()
        self.sweepLater()
    }

    private func sweepLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let lingering = self.configuration.lingering
        self.sweep = self.loop.scheduleTask(in: lingering) {
            bound.value.peers.sweep(unusedFor: lingering)
            bound.value.sweepLater()
        }
    }

    /// The state that the handlers of proxy clients share.
    var proxyContext: ProxyContext {
        ProxyContext(
            opener: self,
            handshakeTimeout: self.configuration.handshakeTimeout,
            credentials: self.configuration.credentials,
            isOptimistic: self.configuration.isOptimistic,
            metrics: self.metrics,
            logger: self.clientLog
        )
    }

    // MARK: Reloading

    /// Applies the settings that can change while streams are open: relays and exits.
    func update(_ configuration: EntryConfiguration) {
        let before = self.configuration.relays
        self.context.configuration.relays = configuration.relays
        self.context.configuration.exits = configuration.exits
        self.context.configuration.identityExits = configuration.identityExits
        self.context.configuration.identities = configuration.identities
        self.context.configuration.aliases = configuration.aliases
        self.context.configuration.services = configuration.services
        self.exits.setNamed(configuration.exits)
        for url in configuration.relays where !before.contains(url) {
            _ = self.context.use(url, in: self.context.lane, policy: .configured)
        }
        for relay in self.context.pool.connections(in: self.context.lane)
        where before.contains(relay.url) && !configuration.relays.contains(relay.url) {
            self.context.keys.unsubscribe(from: relay)
            self.context.pool.release(relay)
        }
    }

    // MARK: Status

    private var streamCount: Int { self.peers.streamCount + self.context.reverse.streamCount }

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.isReady = !self.isStopped
        status.streams = self.streamCount
        for relay in self.peers.all.flatMap(\.connections) + self.context.pool.connections(in: self.context.lane) {
            status.add(relay)
        }
        for relay in self.context.pool.connections { status.addTraffic(of: relay) }
        for peer in self.peers.all where !peer.link.isNone {
            for (url, path) in peer.link.pathStatus { status.add(path, of: url) }
            status.peers.append(
                TunnelStatus.Peer(
                    name: peer.address.publicKey.npub,
                    isSession: peer.link.isSession,
                    streams: peer.link.streamCount,
                    age: Int((NIODeadline.now() - peer.startedAt).nanoseconds / 1_000_000_000),
                    device: self.configuration.aliases.first { $0.value.publicKey == peer.address.publicKey }?.key
                        .domain
                )
            )
        }
        return status
    }

    // MARK: Ending

    /// Refuses new requests and fails waiting requests. The future succeeds when no stream is open or `timeout`
    /// expires.
    func drain(timeout: TimeAmount) -> EventLoopFuture<Void> {
        let drain = Drain(timeout: timeout, on: self.loop)
        self.drain = drain
        self.peers.failWaiting(.shuttingDown)
        self.logger.info("shutting down: no new streams", metadata: ["open": "\(self.streamCount)"])
        self.finishDrainIfIdle()
        return drain.future
    }

    private func finishDrainIfIdle() {
        if let drain, self.streamCount == 0 { drain.finish() }
    }

    /// Ends all streams and disconnects from the relays.
    func stop() {
        self.isStopped = true
        self.sweep?.cancel()
        self.exits.stop()
        self.context.keys.stop()
        self.peers.failWaiting(.shuttingDown)
        self.peers.close(.shuttingDown)
        self.context.pool.stop()
        self.reverseConnections.closeAll()
    }

    // MARK: Reverse connections

    /// Returns the endpoint for an incoming connection with the UUID `key`. Nil if no stream waits for it.
    func reverseConnected(_ key: String, _ stream: ReverseStream) -> (any StreamEndpoint)? {
        guard let opening = self.context.reverse.take(key, for: stream) else {
            self.metrics.rejected(.unknownReverseStream)
            return nil
        }
        self.metrics.streamsOpened.increment()
        return opening
    }
}

extension Entry: PeerTableDelegate, RelayLogDelegate, ReverseRequestsDelegate {
    func isConnected(to url: RelayURL) -> Bool { self.context.pool.isConnected(to: url) }

    func peerTableDidBecomeIdle(_ table: PeerTable) { self.finishDrainIfIdle() }

    func peerTable(_ table: PeerTable, willRemove peer: ExitPeer) { self.exits.willRemove(peer) }

    func relayDidConnect(_ relay: RelayConnection) { self.exits.discover(on: relay) }

    func reverseStreamDidEnd(_ requests: ReverseRequests) { self.finishDrainIfIdle() }
}

extension Entry: StreamOpener {
    func text(of remedy: Remedy) -> String { self.configuration.remedyText(remedy) }

    func open(_ opening: StreamOpening) {
        guard !self.isStopped, self.drain == nil else { return opening.fail(.shuttingDown) }
        do throws(EntryError) {
            let (name, origin) = try self.exit(for: opening)
            let named = Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName))
            let relays = named.isEmpty ? self.configuration.relays : named
            guard !relays.isEmpty else {
                if let label = name.damagedRelay { throw EntryError.invalidName(.damagedRelay(label)) }
                throw EntryError.noRelays
            }
            let peer = try self.peers.peer(
                ExitAddress(
                    publicKey: name.publicKey,
                    relays: relays,
                    isolation: opening.request.isolation,
                    // Credentials that all clients must send do not isolate them from each other.
                    allowsIdentity: origin != .announced
                        && (opening.request.isolation.isEmpty || self.configuration.credentials != nil)
                ),
                policy: named.isEmpty ? .configured : self.policy(for: origin)
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
        /// The user gave it an alias, or configured it as an exit for other targets.
        case user
        /// The exit announced itself.
        case announced
    }

    /// Which addresses the relays in a name may have.
    private func policy(for origin: Origin) -> DialPolicy {
        switch origin {
        case .request: self.context.namedPolicy
        // The user has chosen the relays.
        case .user: .untrustedAllowingLocal
        // An announcement must not make this node connect to addresses that only this node can reach.
        case .announced: .untrusted
        }
    }

    /// Returns the exit for a request, and where its name is from.
    private func exit(for opening: StreamOpening) throws(EntryError) -> (NostrName, Origin) {
        if case .domain(let domain) = opening.request.target.host, NostrName.looksLikeName(domain) {
            if let alias = Alias(domain: domain) {
                if let name = self.configuration.aliases[alias] { return (name, .user) }
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
