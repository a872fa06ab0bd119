//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A rate with a burst. Pure: time is an argument.
package struct TokenBucket: Sendable {
    private let perSecond: Double
    private let burst: Double
    private var tokens: Double
    private var lastRefill: NIODeadline

    /// - Parameters:
    ///   - perSecond: Sustained rate; 0 means none at all once the burst is used.
    ///   - burst: What may come at once; twice the rate if not said.
    package init(perSecond: Int, burst: Int? = nil, now: NIODeadline) {
        self.perSecond = Double(perSecond)
        self.burst = Double(burst ?? 2 * perSecond)
        self.tokens = self.burst
        self.lastRefill = now
    }

    /// Takes one token; false if there is none.
    package mutating func take(at now: NIODeadline) -> Bool {
        if now > self.lastRefill {
            let passed = Double((now - self.lastRefill).nanoseconds) / 1_000_000_000
            self.tokens = min(self.burst, self.tokens + passed * self.perSecond)
            self.lastRefill = now
        }
        guard self.tokens >= 1 else { return false }
        self.tokens -= 1
        return true
    }
}
