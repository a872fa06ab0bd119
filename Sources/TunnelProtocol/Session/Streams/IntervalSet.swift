//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A set of integers, stored as closed ranges.
///
/// It is used for received packet numbers, acknowledged offsets and closed streams. It is efficient if numbers arrive
/// mostly in order; each range takes 16 bytes.
struct IntervalSet: Hashable, Sendable {
    /// The ranges in ascending order. They are disjoint and not adjacent.
    private(set) var intervals: [ClosedRange<UInt64>] = []

    var isEmpty: Bool { self.intervals.isEmpty }
    var largest: UInt64? { self.intervals.last?.upperBound }

    /// The number of integers in the set.
    var count: UInt64 { self.intervals.reduce(0) { $0 + $1.upperBound - $1.lowerBound + 1 } }

    /// The index of the first interval whose upper bound is at least `value`.
    private func index(for value: UInt64) -> Int {
        if let last = self.intervals.last, last.upperBound < value { return self.intervals.count }
        var (low, high) = (0, self.intervals.count)
        while low < high {
            let middle = (low + high) / 2
            if self.intervals[middle].upperBound < value { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func contains(_ value: UInt64) -> Bool {
        let index = self.index(for: value)
        return index < self.intervals.count && self.intervals[index].contains(value)
    }

    /// Whether the set contains all integers of `range`.
    func contains(_ range: Range<UInt64>) -> Bool {
        guard let last = range.last else { return true }
        let index = self.index(for: range.lowerBound)
        guard index < self.intervals.count else { return false }
        let interval = self.intervals[index]
        return interval.lowerBound <= range.lowerBound && interval.upperBound >= last
    }

    /// Inserts an integer. Returns false if the set already contains it.
    mutating func insert(_ value: UInt64) -> Bool {
        guard !self.contains(value) else { return false }
        self.insert(value...value)
        return true
    }

    mutating func insert(_ range: Range<UInt64>) {
        guard let last = range.last else { return }
        self.insert(range.lowerBound...last)
    }

    mutating func insert(_ range: ClosedRange<UInt64>) {
        // Adjacent intervals are merged, too.
        let first = self.index(for: range.lowerBound == 0 ? 0 : range.lowerBound - 1)
        var (lower, upper) = (range.lowerBound, range.upperBound)
        var end = first
        while end < self.intervals.count {
            let interval = self.intervals[end]
            guard interval.lowerBound <= (upper == .max ? upper : upper + 1) else { break }
            lower = min(lower, interval.lowerBound)
            upper = max(upper, interval.upperBound)
            end += 1
        }
        if end == first + 1 {
            self.intervals[first] = lower...upper
        } else {
            self.intervals.replaceSubrange(first..<end, with: CollectionOfOne(lower...upper))
        }
    }

    /// Removes the lowest intervals until at most `most` are left. Returns the highest integer that was removed.
    mutating func dropLowest(keeping most: Int) -> UInt64? {
        let excess = self.intervals.count - most
        guard excess > 0 else { return nil }
        let highest = self.intervals[excess - 1].upperBound
        self.intervals.removeFirst(excess)
        return highest
    }
}
