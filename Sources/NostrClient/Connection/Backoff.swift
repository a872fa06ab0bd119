//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The wait before the next attempt to connect. It doubles after each failure, up to a limit, and is randomized. The
/// caller passes the random number generator.
struct Backoff: Sendable {
    /// Maximum wait after the first failure.
    static let initialLimit: TimeAmount = .milliseconds(250)
    /// Maximum wait during the first ``earlyFailures`` failures. It is short, because open streams continue only when the
    /// relay is connected again.
    static let earlyLimit: TimeAmount = .seconds(3)
    /// Number of consecutive failures after which the limit is ``lateLimit``.
    static let earlyFailures = 60
    /// Maximum wait after more failures.
    static let lateLimit: TimeAmount = .seconds(30)
    /// A connection that lasted this long resets the count of failures.
    static let resetAfter: TimeAmount = .seconds(5)

    private var failures = 0

    /// Records a failure. Returns the time to wait, a random time between half of the limit and the limit.
    ///
    /// The limit doubles from ``initialLimit`` to ``earlyLimit``. After ``earlyFailures`` failures it is ``lateLimit``.
    mutating func next(using generator: inout some RandomNumberGenerator) -> TimeAmount {
        let limit = self.failures < Self.earlyFailures ? Self.earlyLimit : Self.lateLimit
        let ceiling = min(limit.nanoseconds, Self.initialLimit.nanoseconds << Int64(min(self.failures, 10)))
        self.failures += 1
        return .nanoseconds(Int64.random(in: (ceiling / 2)...ceiling, using: &generator))
    }

    /// Records that a connection ended after `duration`.
    mutating func connectionEnded(after duration: TimeAmount) {
        if duration >= Self.resetAfter { self.failures = 0 }
    }
}
