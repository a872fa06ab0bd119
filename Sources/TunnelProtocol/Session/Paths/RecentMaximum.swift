//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The largest of the recent values. A value is forgotten after one to two periods. The owner decides how long a period
/// is.
struct RecentMaximum: Hashable, Sendable {
    private var current = 0.0
    private var previous = 0.0

    /// The maximum; 0 before the first value.
    var value: Double { max(self.current, self.previous) }

    mutating func add(_ value: Double) { self.current = max(self.current, value) }

    /// Starts a new period.
    mutating func startPeriod() {
        self.previous = self.current
        self.current = 0
    }

    /// Forgets everything but `value`.
    mutating func reset(to value: Double) {
        self.current = value
        self.previous = 0
    }
}
