//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// The CONNECTs that an exit has served, kept for as long as their dates allow them to be replayed.
///
/// A full table rejects new entries and removes no entry that is still valid. Otherwise an attacker could make room for
/// a replay by filling the table.
package struct ReplayTable: Sendable {
    /// Identifies a CONNECT: a hash of its author and its UUID. An event that was signed again has the same entry.
    package typealias Entry = Bytes32

    /// How long entries are kept beyond the accepted window, in seconds, in case the clock is set back.
    private static let margin: Int64 = 60

    private let capacity: Int
    private var expirations: [Entry: Int64] = [:]
    private var nextSweep: Int64 = 0

    /// Creates an empty table.
    ///
    /// - Parameter capacity: Maximum number of entries.
    package init(capacity: Int = 65_536) {
        self.capacity = capacity
    }

    /// Number of entries, including expired ones that were not removed yet.
    package var count: Int { self.expirations.count }
    /// Whether the number of entries has reached the capacity.
    package var isFull: Bool { self.expirations.count >= self.capacity }

    /// Computes the entry of a CONNECT from its author and UUID.
    package static func entry(client: PublicKey, key: String) -> Entry {
        Bytes32.sha256(of: client.bytes.bytes + Array(key.utf8))
    }

    /// When the entry of a CONNECT with this date can be removed, in seconds since 1970. By then, the exit has rejected
    /// the CONNECT because of its date for at least ``margin`` seconds.
    package static func expiration(createdAt: Int64, now: Int64) -> Int64 {
        max(createdAt, now) - NIP74Configuration.connectWindow.lowerBound + Self.margin
    }

    /// Inserts an entry. Returns false if the table already contains it or is full.
    package mutating func insert(_ entry: Entry, expiration: Int64, now: Int64) -> Bool {
        if self.nextSweep <= now || self.expirations.count >= self.capacity { self.sweep(now: now) }
        guard self.expirations[entry] == nil, self.expirations.count < self.capacity else { return false }
        self.expirations[entry] = expiration
        return true
    }

    /// The entries that have not expired.
    package func entries(now: Int64) -> [(entry: Entry, expiration: Int64)] {
        self.expirations.filter { $0.value > now }.map { ($0.key, $0.value) }
    }

    private mutating func sweep(now: Int64) {
        self.nextSweep = now + Self.margin
        self.expirations = self.expirations.filter { $0.value > now }
    }
}
