//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Nostr

/// Remembers the ids of verified events, so that what comes from several relays counts once.
///
/// Two generations of bounded size: when the newer is full the older is forgotten. An id must be put in only after the
/// signature verified, or a forgery would suppress the real event.
public struct EventDeduplicator: Sendable {
    private let capacity: Int
    private var newer: Set<EventID> = []
    private var older: Set<EventID> = []

    /// - Parameter capacity: Ids of one generation; between this and twice as many are remembered.
    public init(capacity: Int = 65_536) {
        self.capacity = capacity
    }

    /// Whether `id` was put in.
    public func contains(_ id: EventID) -> Bool {
        self.newer.contains(id) || self.older.contains(id)
    }

    /// Puts `id` in; false if it is there.
    public mutating func insert(_ id: EventID) -> Bool {
        guard !self.contains(id) else { return false }
        if self.newer.count >= self.capacity {
            self.older = self.newer
            self.newer = []
        }
        self.newer.insert(id)
        return true
    }
}
