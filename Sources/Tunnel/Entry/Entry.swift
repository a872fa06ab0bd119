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
    static let rememberedNames = 64
    private static let maximumReverseConnections = 1_024

    let context: EntryContext
    let peers: PeerTable
    let exits: ExitSelector
    /// A cache of decoded names, because clients request the same names repeatedly.
    var names: [String: NostrName] = [:]
    var drain: Drain?
    var isStopped = false
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
        self.context.sockets?.open(port: self.configuration.direct.port)
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
                        .domain,
                    direct: peer.link.directStatus
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
        self.context.sockets?.close()
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
