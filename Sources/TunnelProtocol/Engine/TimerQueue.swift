//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HeapModule
import NIOCore

/// A priority queue of deadlines, each identified by a key.
///
/// To postpone a deadline, the caller leaves the queue unchanged. ``popDue(_:)`` then returns the key at the old
/// deadline. The caller checks the state of the key's object, and schedules the key again if nothing is due yet.
struct TimerQueue<Key: Hashable & Sendable>: Sendable {
    private struct Entry: Comparable, Sendable {
        let deadline: NIODeadline
        let key: Key

        static func < (left: Entry, right: Entry) -> Bool { left.deadline < right.deadline }
        static func == (left: Entry, right: Entry) -> Bool { left.deadline == right.deadline }
    }

    private var heap = Heap<Entry>()
    /// The earliest deadline of each key. Later deadlines of the key are not inserted into the heap.
    private var earliest: [Key: NIODeadline] = [:]

    var nextDeadline: NIODeadline? { self.heap.min?.deadline }

    /// Ensures that ``popDue(_:)`` returns `key` at `deadline` or earlier.
    mutating func schedule(_ key: Key, at deadline: NIODeadline) {
        if let known = self.earliest[key], known <= deadline { return }
        self.earliest[key] = deadline
        self.heap.insert(Entry(deadline: deadline, key: key))
        if self.heap.count > 2 * self.earliest.count + 64 {
            self.heap = Heap(self.heap.unordered.filter { self.earliest[$0.key] == $0.deadline })
        }
    }

    /// Removes and returns the next key whose deadline has passed; nil if there is none.
    mutating func popDue(_ now: NIODeadline) -> Key? {
        while let first = self.heap.min, first.deadline <= now {
            self.heap.removeMin()
            // Skip entries of keys that were cancelled or scheduled for an earlier deadline.
            guard self.earliest[first.key] == first.deadline else { continue }
            self.earliest[first.key] = nil
            return first.key
        }
        return nil
    }

    /// Removes `key`. Its entries in the heap are skipped later.
    mutating func cancel(_ key: Key) {
        self.earliest[key] = nil
    }
}
