//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HeapModule
import NIOCore

/// Deadlines of many things. A thing may have any number of entries; whoever handles an entry looks at the thing's
/// present state, so that postponing costs nothing until the old entry comes up.
struct TimerQueue<Key: Hashable & Sendable>: Sendable {
    private struct Entry: Comparable, Sendable {
        let deadline: NIODeadline
        let key: Key

        static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
        static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
    }

    private var heap = Heap<Entry>()
    /// The earliest entry of each key, so that a key is not entered again for a later time.
    private var earliest: [Key: NIODeadline] = [:]

    var nextDeadline: NIODeadline? { self.heap.min?.deadline }

    /// Makes sure that `key` comes up at `deadline` or before.
    mutating func schedule(_ key: Key, at deadline: NIODeadline) {
        if let known = self.earliest[key], known <= deadline { return }
        self.earliest[key] = deadline
        self.heap.insert(Entry(deadline: deadline, key: key))
        if self.heap.count > 2 * self.earliest.count + 64 {
            self.heap = Heap(self.heap.unordered.filter { self.earliest[$0.key] == $0.deadline })
        }
    }

    /// The next key that is due.
    mutating func popDue(_ now: NIODeadline) -> Key? {
        while let first = self.heap.min, first.deadline <= now {
            self.heap.removeMin()
            // A key that was moved forward has an older entry left, which is skipped.
            guard self.earliest[first.key] == first.deadline else { continue }
            self.earliest[first.key] = nil
            return first.key
        }
        return nil
    }

    /// Forgets `key`; its entries are skipped.
    mutating func cancel(_ key: Key) {
        self.earliest[key] = nil
    }
}
