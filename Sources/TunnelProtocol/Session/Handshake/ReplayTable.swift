//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// The CONNECTs that an exit has served, kept for as long as their dates allow them to be replayed, and then until their
/// room is needed.
///
/// A full table rejects new entries and removes no entry that is still valid. Otherwise an attacker could make room for
/// a replay by filling the table. CONNECTs that are dated far in the future, and therefore kept for long, have a room of
/// their own, so that they do not keep others out.
///
/// Expired entries are removed only to make room, a quarter at a time, so that a clock that is ahead for a while does not
/// empty the table.
package struct ReplayTable: Sendable {
    /// Identifies a CONNECT: a hash of its author and its UUID. An event that was signed again has the same entry.
    package typealias Entry = Bytes32

    /// Maximum number of entries.
    package struct Capacity: Sendable {
        package var near: Int
        /// Of CONNECTs dated more than ``ReplayTable/nearFuture`` ahead.
        package var far: Int

        /// A stranger has to send more than 400 CONNECTs a second to fill the room for the usual ones.
        package init(near: Int = 131_072, far: Int = 16_384) {
            self.near = near
            self.far = far
        }
    }

    /// How far ahead the clock of an honest client may be without a disadvantage, in seconds.
    private static let nearFuture: Int64 = 120
    /// How long entries are kept beyond the accepted window, in seconds, in case the clock is set back.
    private static let margin: Int64 = 60

    private var near: Room
    private var far: Room

    package init(capacity: Capacity = Capacity()) {
        self.near = Room(capacity: capacity.near)
        self.far = Room(capacity: capacity.far)
    }

    /// Number of entries, including expired ones that were not removed yet.
    package var count: Int { self.near.expirations.count + self.far.expirations.count }
    /// Whether the last new entry was rejected because there was no room.
    package private(set) var isFull = false

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
        self.isFull = false
        guard !self.near.contains(entry), !self.far.contains(entry) else { return false }
        let isFar = expiration - Self.expiration(createdAt: now, now: now) > Self.nearFuture
        let isInserted =
            isFar
            ? self.far.insert(entry, expiration: expiration, now: now)
            : self.near.insert(entry, expiration: expiration, now: now)
        self.isFull = !isInserted
        return isInserted
    }

    /// Inserts an entry of an earlier run. It takes a place of either part, because the clock may have been set since.
    package mutating func restore(_ entry: Entry, expiration: Int64, now: Int64) {
        guard !self.near.contains(entry), !self.far.contains(entry) else { return }
        if self.insert(entry, expiration: expiration, now: now) { return }
        self.isFull = false
        if !self.near.insert(entry, expiration: expiration, now: now) {
            _ = self.far.insert(entry, expiration: expiration, now: now)
        }
    }

    /// All entries.
    package var entries: [(entry: Entry, expiration: Int64)] {
        self.near.expirations.map { ($0.key, $0.value) } + self.far.expirations.map { ($0.key, $0.value) }
    }

    /// A number of entries.
    private struct Room {
        let capacity: Int
        private(set) var expirations: [Entry: Int64] = [:]
        /// No entry expires before this time.
        private var earliest = Int64.min

        init(capacity: Int) { self.capacity = capacity }

        func contains(_ entry: Entry) -> Bool { self.expirations[entry] != nil }

        mutating func insert(_ entry: Entry, expiration: Int64, now: Int64) -> Bool {
            if self.expirations.count >= self.capacity { self.makeRoom(now: now) }
            guard self.expirations.count < self.capacity else { return false }
            self.expirations[entry] = expiration
            self.earliest = min(self.earliest, expiration)
            return true
        }

        /// Removes up to a quarter of the entries: those that expired first.
        private mutating func makeRoom(now: Int64) {
            guard self.earliest <= now else { return }
            let sorted = self.expirations.values.sorted()
            let quarter = sorted[sorted.count / 4]
            self.expirations = self.expirations.filter { $0.value > min(quarter, now) }
            self.earliest = self.expirations.values.min() ?? .max
        }
    }
}
