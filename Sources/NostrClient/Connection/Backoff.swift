//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The wait before the next attempt to connect: doubled after each failure, with jitter, up to a limit. Pure: randomness
/// is an argument.
struct Backoff: Sendable {
    /// Longest wait after the first failure.
    static let first: TimeAmount = .milliseconds(250)
    /// Longest wait during the first two minutes: open streams continue as soon as the relay is back.
    static let mostAtFirst: TimeAmount = .seconds(3)
    /// Failures after which the waits become longer: about two minutes of them.
    static let patience = 60
    /// Longest wait.
    static let most: TimeAmount = .seconds(30)
    /// A connection that lasted this long resets the count of failures.
    static let resetAfter: TimeAmount = .seconds(5)

    private var failures = 0

    /// The wait after another failure: between half and all of 250 ms, 500 ms, 1 s, 2 s, 3 s; of 30 s after two minutes.
    mutating func next(using generator: inout some RandomNumberGenerator) -> TimeAmount {
        let most = self.failures < Self.patience ? Self.mostAtFirst : Self.most
        let ceiling = min(most.nanoseconds, Self.first.nanoseconds << Int64(min(self.failures, 10)))
        self.failures += 1
        return .nanoseconds(Int64.random(in: (ceiling / 2)...ceiling, using: &generator))
    }

    /// A connection ended after `duration`.
    mutating func connectionHeld(for duration: TimeAmount) {
        if duration >= Self.resetAfter { self.failures = 0 }
    }
}
