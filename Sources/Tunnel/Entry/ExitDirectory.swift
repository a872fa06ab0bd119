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

/// The exits by which an entry reaches the internet: those that its user named, and those that announced themselves.
struct ExitDirectory {
    /// Most announcements that are remembered.
    private static let maximumAnnouncements = 1_000
    /// How long an exit that failed comes last.
    private static let penance: TimeAmount = .seconds(60)

    private let named: [NostrName]
    private var announced: [PublicKey: ExitAnnouncement] = [:]
    private var failedUntil: [PublicKey: NIODeadline] = [:]

    init(named: [NostrName]) {
        self.named = named
    }

    /// Takes an announcement; an older one of the same exit changes nothing.
    mutating func take(_ announcement: ExitAnnouncement, now: Int64) {
        self.announced = self.announced.filter { $0.value.expiration > now }
        if let known = self.announced[announcement.publicKey], known.createdAt >= announcement.createdAt { return }
        if self.announced.count >= Self.maximumAnnouncements, self.announced[announcement.publicKey] == nil,
            let oldest = self.announced.min(by: { $0.value.createdAt < $1.value.createdAt })?.key
        {
            self.announced[oldest] = nil
        }
        self.announced[announcement.publicKey] = announcement
    }

    /// An exit did not do what it should.
    mutating func failed(_ exit: PublicKey, at now: NIODeadline) {
        self.failedUntil = self.failedUntil.filter { $0.value > now }
        self.failedUntil[exit] = now + Self.penance
    }

    /// Whether the user named the exits, and not they themselves.
    var isNamed: Bool { !self.named.isEmpty }

    /// The exit to use: one that did not fail lately, the fastest, and the less used of equals. Those that the user named
    /// are the only ones if there are any.
    ///
    /// - Parameter cost: Milliseconds that stand for the way to an exit.
    func choose(
        without tried: Set<PublicKey>,
        at now: NIODeadline,
        cost: (PublicKey) -> Double
    ) -> NostrName? {
        let candidates =
            self.named.isEmpty
            ? self.announced.values.map { NostrName(publicKey: $0.publicKey, relays: $0.relays) } : self.named
        let ranked = candidates.filter { !tried.contains($0.publicKey) }.map { name in
            let hasFailed = (self.failedUntil[name.publicKey] ?? now) > now
            // Swift's hashes differ from process to process: nobody can make a key that every entry prefers.
            return (rank: (hasFailed ? 1 : 0, cost(name.publicKey), name.publicKey.hashValue), name: name)
        }
        return ranked.min { $0.rank < $1.rank }?.name
    }
}

extension EntryCore {
    /// How often announcements are asked for.
    private static let discoveryInterval: TimeAmount = .seconds(60)
    /// The way to an exit that was not used yet, in milliseconds.
    private static let unknownCost = 150.0
    /// What a stream adds: a session with many is no better than a slower one with few.
    private static let costOfStream = 2.0

    /// The exit for a place on the internet.
    func chooseExit(_ request: ProxyRequest) -> NostrName? {
        var costs: [PublicKey: Double] = [:]
        var streams: [PublicKey: Int] = [:]
        for association in self.all {
            guard let link = association.link else { continue }
            let key = association.address.publicKey
            let trips = link.dialect.pathStatus.compactMap(\.roundTrip).map { Double($0.nanoseconds) / 1_000_000 }
            if let fastest = trips.min() { costs[key] = min(costs[key] ?? fastest, fastest) }
            streams[key, default: 0] += link.streamCount
        }
        return self.directory.choose(without: request.triedExits, at: .now()) { key in
            (costs[key] ?? Self.unknownCost) + Self.costOfStream * Double(streams[key] ?? 0)
        }
    }

    /// Asks a configured relay for announcements.
    func discoverExits(on key: RelayPool.Key) {
        guard self.configuration.usesPublicExits, key.lane == Self.lane, self.configuration.relays.contains(key.url),
            let connection = self.pool?.connection(key)
        else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let since = Moment.now.seconds - ExitAnnouncement.lifetime
        connection.query(
            Filter(kinds: [.exitAnnouncement], since: since, limit: 100),
            timeout: self.configuration.relayListTimeout
        ) { events, _ in
            for received in events where (try? received.event.verify()) != nil {
                let now = Moment.now.seconds
                guard let announcement = ExitAnnouncement(received.event, foundOn: key.url, now: now) else { continue }
                bound.value.directory.take(announcement, now: now)
            }
        }
    }

    func discoverLater() {
        guard self.configuration.usesPublicExits else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: Self.discoveryInterval) {
            let core = bound.value
            guard !core.isStopped else { return }
            for key in core.pool?.connections(of: Self.lane) ?? [] { core.discoverExits(on: key) }
            core.discoverLater()
        }
    }
}
