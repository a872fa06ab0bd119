//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// The CONNECTs that an exit dialled, for as long as their dates would let them be sent again.
///
/// Full, it refuses new ones and forgets none: whoever fills it must not make room for a replay.
public struct ReplayTable: Sendable {
    /// What tells a CONNECT from all others: a hash of its author and its UUID, so that an event that was signed anew
    /// is the same.
    public typealias Entry = Bytes32

    /// Seconds kept beyond the window, for a clock that is set back.
    private static let margin: Int64 = 60

    private let capacity: Int
    private var expirations: [Entry: Int64] = [:]
    private var nextSweep: Int64 = 0

    /// - Parameter capacity: Most entries.
    public init(capacity: Int = 65_536) {
        self.capacity = capacity
    }

    public var count: Int { self.expirations.count }
    public var isFull: Bool { self.expirations.count >= self.capacity }

    /// The entry of a CONNECT.
    public static func entry(client: PublicKey, key: String) -> Entry {
        Bytes32.sha256(of: client.bytes.bytes + Array(key.utf8))
    }

    /// When a CONNECT of this date is too old to be taken, in seconds since 1970.
    public static func expiration(createdAt: Int64, now: Int64) -> Int64 {
        max(createdAt, now) - NIP74Configuration.connectWindow.lowerBound + Self.margin
    }

    /// Enters a CONNECT. False if it is there, or if there is no room.
    public mutating func insert(_ entry: Entry, expiration: Int64, now: Int64) -> Bool {
        if self.nextSweep <= now || self.expirations.count >= self.capacity { self.sweep(now: now) }
        guard self.expirations[entry] == nil, self.expirations.count < self.capacity else { return false }
        self.expirations[entry] = expiration
        return true
    }

    /// The entries that still matter.
    public func entries(now: Int64) -> [(entry: Entry, expiration: Int64)] {
        self.expirations.filter { $0.value > now }.map { ($0.key, $0.value) }
    }

    private mutating func sweep(now: Int64) {
        self.nextSweep = now + Self.margin
        self.expirations = self.expirations.filter { $0.value > now }
    }
}
