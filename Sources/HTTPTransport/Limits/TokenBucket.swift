//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A token bucket: limits a rate and allows bursts. It has no clock; the caller passes the time.
package struct TokenBucket: Sendable {
    private let perSecond: Double
    private let burst: Double
    private var tokens: Double
    private var lastRefill: NIODeadline

    /// Creates a full bucket.
    ///
    /// - Parameters:
    ///   - perSecond: Tokens added per second. With 0 the bucket is not refilled.
    ///   - burst: Capacity of the bucket. Defaults to twice `perSecond`.
    ///   - now: The current time.
    package init(perSecond: Int, burst: Int? = nil, now: NIODeadline) {
        self.perSecond = Double(perSecond)
        self.burst = Double(burst ?? 2 * perSecond)
        self.tokens = self.burst
        self.lastRefill = now
    }

    /// Takes tokens that were used already. Their number may exceed those in the bucket; the next ones then take longer.
    package mutating func pay(_ count: Int, at now: NIODeadline) {
        _ = self.take(0, at: now)
        self.tokens -= Double(count)
    }

    /// Puts tokens back, up to the capacity of the bucket.
    package mutating func refund(_ count: Int = 1) { self.tokens = min(self.burst, self.tokens + Double(count)) }

    /// Number of tokens that were taken and not yet refilled.
    package var used: Int { Int(self.burst - self.tokens) }

    /// When the next token is available: now if there is one, never if the bucket is not refilled.
    package func nextToken(at now: NIODeadline) -> NIODeadline {
        guard self.tokens < 1 else { return now }
        guard self.perSecond > 0 else { return .distantFuture }
        let wait = (1 - self.tokens) / self.perSecond
        return max(now, self.lastRefill + .nanoseconds(Int64(wait * 1_000_000_000)))
    }

    /// Takes tokens. Takes none and returns false if there are not enough.
    package mutating func take(_ count: Int = 1, at now: NIODeadline) -> Bool {
        if now > self.lastRefill {
            let passed = Double((now - self.lastRefill).nanoseconds) / 1_000_000_000
            self.tokens = min(self.burst, self.tokens + passed * self.perSecond)
            self.lastRefill = now
        }
        guard self.tokens >= Double(count) else { return false }
        self.tokens -= Double(count)
        return true
    }
}
