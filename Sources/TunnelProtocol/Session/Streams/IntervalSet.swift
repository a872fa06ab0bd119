//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Whole numbers in few runs: packet numbers that arrived, offsets that were acknowledged, streams that are over.
///
/// Cheap where things come mostly in order; each gap costs 16 bytes.
struct IntervalSet: Hashable, Sendable {
    /// Ascending, disjoint, not adjacent.
    private(set) var intervals: [ClosedRange<UInt64>] = []

    var isEmpty: Bool { self.intervals.isEmpty }
    var largest: UInt64? { self.intervals.last?.upperBound }

    /// How many numbers are in it.
    var count: UInt64 { self.intervals.reduce(0) { $0 + $1.upperBound - $1.lowerBound + 1 } }

    /// The first interval that ends at `value` or behind it.
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

    /// Whether all of `range` is in.
    func contains(_ range: Range<UInt64>) -> Bool {
        guard let last = range.last else { return true }
        let index = self.index(for: range.lowerBound)
        guard index < self.intervals.count else { return false }
        let interval = self.intervals[index]
        return interval.lowerBound <= range.lowerBound && interval.upperBound >= last
    }

    /// Puts a number in; false if it is there.
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
        // Neighbours join too.
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

    /// Drops the lowest intervals until at most `most` are left. Returns the highest number dropped.
    mutating func dropLowest(keeping most: Int) -> UInt64? {
        let excess = self.intervals.count - most
        guard excess > 0 else { return nil }
        let highest = self.intervals[excess - 1].upperBound
        self.intervals.removeFirst(excess)
        return highest
    }
}
