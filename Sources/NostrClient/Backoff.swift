//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// How long to wait before trying again: doubling, jittered, bounded. Pure: randomness is an argument.
public struct Backoff: Sendable {
    /// Longest first wait.
    public static let first: TimeAmount = .milliseconds(250)
    /// Longest wait at first: whoever has streams open wants to go on as soon as the relay is back.
    public static let mostAtFirst: TimeAmount = .seconds(3)
    /// Failures, about two minutes of them, after which the relay is left alone for longer.
    public static let patience = 60
    /// Longest wait at all.
    public static let most: TimeAmount = .seconds(30)
    /// A connection must hold this long before failures start over.
    public static let resetAfter: TimeAmount = .seconds(5)

    private var failures = 0

    public init() {}

    /// The wait after another failure: between half and the whole of 250 ms, 500 ms, 1 s, 2 s, 3 s, and after two minutes
    /// 30 s.
    public mutating func next(using generator: inout some RandomNumberGenerator) -> TimeAmount {
        let most = self.failures < Self.patience ? Self.mostAtFirst : Self.most
        let ceiling = min(most.nanoseconds, Self.first.nanoseconds << Int64(min(self.failures, 10)))
        self.failures += 1
        return .nanoseconds(Int64.random(in: (ceiling / 2)...ceiling, using: &generator))
    }

    /// A connection held for `duration` before it ended.
    public mutating func connectionHeld(for duration: TimeAmount) {
        if duration >= Self.resetAfter { self.failures = 0 }
    }
}
