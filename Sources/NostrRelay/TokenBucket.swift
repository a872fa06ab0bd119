//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A rate with a burst. Pure: time is an argument.
struct TokenBucket: Sendable {
    private let perSecond: Double
    private let burst: Double
    private var tokens: Double
    private var lastRefill: Int64

    /// - Parameters:
    ///   - perSecond: Sustained rate; 0 means none at all once the burst is used.
    ///   - burst: What may come at once.
    ///   - now: Nanoseconds of any monotonic clock.
    init(perSecond: Int, burst: Int, now: Int64) {
        self.perSecond = Double(perSecond)
        self.burst = Double(burst)
        self.tokens = Double(burst)
        self.lastRefill = now
    }

    /// Takes one token; false if there is none.
    mutating func take(now: Int64) -> Bool {
        if now > self.lastRefill {
            self.tokens = min(self.burst, self.tokens + Double(now - self.lastRefill) / 1e9 * self.perSecond)
            self.lastRefill = now
        }
        guard self.tokens >= 1 else { return false }
        self.tokens -= 1
        return true
    }
}
