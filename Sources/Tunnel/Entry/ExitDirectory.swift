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

    var named: [NostrName]
    private var announced: [PublicKey: ExitAnnouncement] = [:]
    private var failedUntil: [PublicKey: NIODeadline] = [:]
    /// Round trips, and when the exit was tried.
    private var measured: [PublicKey: (milliseconds: Double?, at: NIODeadline)] = [:]
    /// How long a measurement holds.
    private static let memory: TimeAmount = .minutes(10)

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

    /// Announced exits to be measured next: those that nobody has tried for a while. They count as tried then.
    mutating func takeUnmeasured(_ count: Int, at now: NIODeadline) -> [NostrName] {
        guard self.named.isEmpty else { return [] }
        self.measured = self.measured.filter { self.announced[$0.key] != nil && $0.value.at + Self.memory > now }
        let next = self.announced.values.filter { self.measured[$0.publicKey] == nil }
            .sorted { $0.publicKey.hashValue < $1.publicKey.hashValue }.prefix(count)
        for exit in next { self.measured[exit.publicKey] = (nil, now) }
        return next.map(\.name)
    }

    mutating func note(_ exit: PublicKey, milliseconds: Double, at now: NIODeadline) {
        guard self.announced[exit] != nil else { return }
        self.measured[exit] = (milliseconds, now)
    }

    func roundTrip(of exit: PublicKey) -> Double? { self.measured[exit]?.milliseconds }

    /// Whether the user named the exits, and not they themselves.
    var isNamed: Bool { !self.named.isEmpty }

    /// The exit to use: one that did not fail lately, the fastest, and the less used of equals. Those that the user named
    /// are the only ones if there are any.
    ///
    /// - Parameters:
    ///   - seconds: Since 1970; announcements that have lapsed by then count no more.
    ///   - cost: Milliseconds that stand for the way to an exit.
    func choose(
        without tried: Set<PublicKey>,
        at now: NIODeadline,
        seconds: Int64,
        cost: (PublicKey) -> Double
    ) -> NostrName? {
        let candidates =
            self.named.isEmpty
            ? self.announced.values.filter { $0.expiration > seconds }.map(\.name) : self.named
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
        for (exit, trip) in costs { self.directory.note(exit, milliseconds: trip, at: .now()) }
        let directory = self.directory
        return directory.choose(without: request.triedExits, at: .now(), seconds: Moment.now.seconds) { key in
            (costs[key] ?? directory.roundTrip(of: key) ?? Self.unknownCost) + Self.costOfStream
                * Double(streams[key] ?? 0)
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
            bound.value.measureExits()
        }
    }

    /// Begins sessions with a few exits that nobody has tried, which shows how far away they are: the first request is not
    /// to go to whichever comes.
    private func measureExits() {
        guard !self.isStopped, self.drain == nil else { return }
        for name in self.directory.takeUnmeasured(Self.exitsToMeasure, at: .now()) {
            let relays = Array(name.relays.prefix(EntryConfiguration.maximumRelaysPerName))
            let address = ExitAddress(publicKey: name.publicKey, relays: relays)
            guard self.associations[address] == nil,
                let association = try? self.association(with: address, policy: .namedByOthers)
            else { continue }
            association.isWanted = true
            self.serveWaiting(of: association)
        }
    }

    /// What a session that is about to be forgotten knows of the way to its exit.
    func noteRoundTrip(of association: EntryAssociation) {
        guard self.configuration.usesPublicExits, let link = association.link else { return }
        let trips = link.dialect.pathStatus.compactMap(\.roundTrip).map { Double($0.nanoseconds) / 1_000_000 }
        guard let fastest = trips.min() else { return }
        self.directory.note(association.address.publicKey, milliseconds: fastest, at: .now())
    }

    /// Exits that are measured each time that announcements were asked for.
    private static let exitsToMeasure = 3

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
