//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import Nostr

/// A bounded set of ids, so that an event that several relays deliver is handled once.
///
/// It has two generations of limited size and forgets the older one when the newer is full. Insert the id of an event only
/// after its signature was verified, because a forged event would otherwise suppress the real one. Where only the content
/// matters, it is enough to verify the id.
package struct EventDeduplicator: Sendable {
    private let capacity: Int
    private var newer: Set<EventID> = []
    private var older: Set<EventID> = []

    /// - Parameter capacity: Maximum number of ids in one generation. At least the last `capacity` ids are remembered,
    ///   and at most twice as many.
    package init(capacity: Int = 65_536) {
        self.capacity = capacity
    }

    /// Whether `id` was inserted.
    package func contains(_ id: EventID) -> Bool {
        self.newer.contains(id) || self.older.contains(id)
    }

    /// Inserts `id`. False if it was inserted before.
    package mutating func insert(_ id: EventID) -> Bool {
        guard !self.contains(id) else { return false }
        if self.newer.count >= self.capacity {
            self.older = self.newer
            self.newer = []
        }
        self.newer.insert(id)
        return true
    }
}
