//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

/// The exits for targets on the internet: those that the user configured, or else those that announced themselves. It
/// performs no I/O.
struct ExitDirectory {
    /// Maximum number of stored announcements.
    private static let maximumAnnouncements = 1_000
    /// How long an exit that failed is used only if there is no other.
    private static let failureCooldown: TimeAmount = .seconds(60)

    var named: [NostrName]
    private var announced: [PublicKey: ExitAnnouncement] = [:]
    private var failedUntil: [PublicKey: NIODeadline] = [:]
    /// The round-trip times in milliseconds and the times of their measurements. Nil if a measurement was started but
    /// has no result.
    private var measured: [PublicKey: (milliseconds: Double?, at: NIODeadline)] = [:]
    /// How long a measurement is used.
    private static let measurementLifetime: TimeAmount = .minutes(10)

    init(named: [NostrName]) {
        self.named = named
    }

    /// Stores an announcement. It is ignored if it is not newer than the stored announcement of the same exit.
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

    /// Records that an exit has failed.
    mutating func noteFailure(of exit: PublicKey, at now: NIODeadline) {
        self.failedUntil = self.failedUntil.filter { $0.value > now }
        self.failedUntil[exit] = now + Self.failureCooldown
    }

    /// Returns up to `count` announced exits without a recent measurement, and records that their measurement was
    /// started.
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

    /// Stores a measured round-trip time.
    mutating func noteRoundTrip(of exit: PublicKey, milliseconds: Double, at now: NIODeadline) {
        guard self.announced[exit] != nil else { return }
        self.measured[exit] = (milliseconds, now)
    }

    func roundTrip(of exit: PublicKey) -> Double? { self.measured[exit]?.milliseconds }

    /// Whether the user configured the exits.
    var isNamed: Bool { !self.named.isEmpty }

    /// Returns the exit with the lowest cost that has not failed recently. If all have failed, returns the one with the
    /// lowest cost. If the user configured exits, only those are considered.
    ///
    /// - Parameters:
    ///   - tried: Exits to exclude.
    ///   - now: The current time of the monotonic clock.
    ///   - seconds: The current time in seconds since 1970. Expired announcements are ignored.
    ///   - cost: Returns the cost of using an exit, in milliseconds.
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
            // The hash decides between equal costs. Swift's hash values differ between processes, so no one can create
            // a key that all entries prefer.
            return (rank: (hasFailed ? 1 : 0, cost(name.publicKey), name.publicKey.hashValue), name: name)
        }
        return ranked.min { $0.rank < $1.rank }?.name
    }
}
