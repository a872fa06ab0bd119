//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Chooses the exit for a target on the internet, finds announced exits on the configured relays, and measures them.
final class ExitSelector {
    /// Time between queries for announcements.
    private static let discoveryInterval: TimeAmount = .seconds(60)
    /// The cost in milliseconds of an exit without a measurement.
    private static let unknownCost = 150.0
    /// The cost in milliseconds of each open stream. It distributes streams over several exits.
    private static let costOfStream = 2.0
    /// Number of exits that are measured after each query.
    private static let exitsToMeasure = 3

    private let context: EntryContext
    private let peers: PeerTable
    private var directory: ExitDirectory
    private var timer: Scheduled<Void>?

    init(context: EntryContext, peers: PeerTable) {
        self.context = context
        self.peers = peers
        self.directory = ExitDirectory(named: context.configuration.exits)
    }

    func start() { self.discoverLater() }

    func stop() {
        self.timer?.cancel()
        self.timer = nil
    }

    /// Sets the exits that the user configured. If there are any, announced exits are not used.
    func setNamed(_ names: [NostrName]) { self.directory.named = names }

    /// Whether the user configured the exits.
    var isNamed: Bool { self.directory.isNamed }

    func noteFailure(of exit: PublicKey) { self.directory.noteFailure(of: exit, at: .now()) }

    // MARK: Choosing

    /// Returns an exit for a target on the internet that has not been tried for it; nil if all have been.
    func choose(for request: ProxyRequest) -> NostrName? {
        var trips: [PublicKey: Double] = [:]
        var streams: [PublicKey: Int] = [:]
        for peer in self.peers.all where !peer.link.isNone {
            let exit = peer.address.publicKey
            if let trip = peer.link.roundTrip { trips[exit] = min(trips[exit] ?? trip, trip) }
            streams[exit, default: 0] += peer.link.streamCount
        }
        for (exit, trip) in trips { self.directory.noteRoundTrip(of: exit, milliseconds: trip, at: .now()) }
        let directory = self.directory
        return directory.choose(excluding: request.triedExits, at: .now(), seconds: Moment.now.seconds) { exit in
            (trips[exit] ?? directory.roundTrip(of: exit) ?? Self.unknownCost)
                + Self.costOfStream * Double(streams[exit] ?? 0)
        }
    }

    /// Stores the measurement of a peer that is about to be removed.
    func willRemove(_ peer: ExitPeer) {
        guard self.context.configuration.usesPublicExits, let trip = peer.link.roundTrip else { return }
        self.directory.noteRoundTrip(of: peer.address.publicKey, milliseconds: trip, at: .now())
    }

    // MARK: Discovering

    /// Queries a configured relay for announcements.
    func discover(on relay: RelayConnection) {
        guard self.context.configuration.usesPublicExits, relay.lane == self.context.lane,
            self.context.configuration.relays.contains(relay.url)
        else { return }
        let since = Moment.now.seconds - ExitAnnouncement.lifetime
        relay.query(
            Filter(kinds: [.exitAnnouncement], since: since, limit: 100),
            timeout: self.context.configuration.relayListTimeout
        ) { [weak self] events, _ in self?.received(events, from: relay.url) }
    }

    private func received(_ events: [ReceivedEvent], from relay: RelayURL) {
        let now = Moment.now.seconds
        for received in events where (try? received.event.verify()) != nil {
            guard let announcement = ExitAnnouncement(received.event, foundOn: relay, now: now) else { continue }
            self.directory.insert(announcement, now: now)
        }
        self.measure()
    }

    /// Begins sessions with a few exits that were not measured, so that the first request can use a fast exit.
    private func measure() {
        guard self.timer != nil else { return }
        for name in self.directory.takeUnmeasured(Self.exitsToMeasure, at: .now()) {
            let address = ExitAddress(
                publicKey: name.publicKey,
                relays: Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName)),
                allowsIdentity: false
            )
            guard !self.peers.contains(address), let peer = try? self.peers.peer(address, policy: .untrusted) else {
                continue
            }
            peer.measure()
        }
    }

    private func discoverLater() {
        guard self.context.configuration.usesPublicExits else { return }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        self.timer = self.context.loop.scheduleTask(in: Self.discoveryInterval) {
            for relay in bound.value.context.pool.connections(in: bound.value.context.lane) {
                bound.value.discover(on: relay)
            }
            bound.value.discoverLater()
        }
    }
}
