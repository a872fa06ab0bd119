//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

/// The exits by which an entry reaches the internet: those that its user named, or those that announced themselves.
/// It performs no I/O.
struct ExitDirectory {
    /// Most announcements that are remembered.
    private static let maximumAnnouncements = 1_000
    /// How long an exit that failed is used only if no other is left.
    private static let failureCooldown: TimeAmount = .seconds(60)

    var named: [NostrName]
    private var announced: [PublicKey: ExitAnnouncement] = [:]
    private var failedUntil: [PublicKey: NIODeadline] = [:]
    /// Round trips in milliseconds, nil if none was measured, and when that was tried.
    private var measured: [PublicKey: (milliseconds: Double?, at: NIODeadline)] = [:]
    /// How long a measurement is used.
    private static let measurementLifetime: TimeAmount = .minutes(10)

    init(named: [NostrName]) {
        self.named = named
    }

    /// Enters an announcement. One that is older than the known one of the same exit is ignored.
    mutating func insert(_ announcement: ExitAnnouncement, now: Int64) {
        self.announced = self.announced.filter { $0.value.expiration > now }
        if let known = self.announced[announcement.publicKey], known.createdAt >= announcement.createdAt { return }
        if self.announced.count >= Self.maximumAnnouncements, self.announced[announcement.publicKey] == nil,
            let oldest = self.announced.min(by: { $0.value.createdAt < $1.value.createdAt })?.key
        {
            self.announced[oldest] = nil
        }
        self.announced[announcement.publicKey] = announcement
    }

    /// An exit did not work.
    mutating func noteFailure(of exit: PublicKey, at now: NIODeadline) {
        self.failedUntil = self.failedUntil.filter { $0.value > now }
        self.failedUntil[exit] = now + Self.failureCooldown
    }

    /// Announced exits to measure next: those without a recent measurement. They count as tried from now on.
    mutating func takeUnmeasured(_ count: Int, at now: NIODeadline) -> [NostrName] {
        guard self.named.isEmpty else { return [] }
        self.measured = self.measured.filter {
            self.announced[$0.key] != nil && $0.value.at + Self.measurementLifetime > now
        }
        let next = self.announced.values.filter { self.measured[$0.publicKey] == nil }
            .sorted { $0.publicKey.hashValue < $1.publicKey.hashValue }.prefix(count)
        for exit in next { self.measured[exit.publicKey] = (nil, now) }
        return next.map(\.name)
    }

    /// Enters a measured round trip.
    mutating func noteRoundTrip(of exit: PublicKey, milliseconds: Double, at now: NIODeadline) {
        guard self.announced[exit] != nil else { return }
        self.measured[exit] = (milliseconds, now)
    }

    func roundTrip(of exit: PublicKey) -> Double? { self.measured[exit]?.milliseconds }

    /// Whether the user named the exits.
    var isNamed: Bool { !self.named.isEmpty }

    /// The exit to use: one that did not fail recently, with the lowest cost. If the user named exits, only those are used.
    ///
    /// - Parameters:
    ///   - tried: Exits to leave out.
    ///   - seconds: Since 1970. Announcements that expired before are left out.
    ///   - cost: Milliseconds that rate the path to an exit.
    func choose(
        excluding tried: Set<PublicKey>,
        at now: NIODeadline,
        seconds: Int64,
        cost: (PublicKey) -> Double
    ) -> NostrName? {
        let candidates =
            self.named.isEmpty
            ? self.announced.values.filter { $0.expiration > seconds }.map(\.name) : self.named
        let ranked = candidates.filter { !tried.contains($0.publicKey) }.map { name in
            let hasFailed = (self.failedUntil[name.publicKey] ?? now) > now
            // Swift's hash values differ between processes, so no key can be made that every entry prefers.
            return (rank: (hasFailed ? 1 : 0, cost(name.publicKey), name.publicKey.hashValue), name: name)
        }
        return ranked.min { $0.rank < $1.rank }?.name
    }
}
