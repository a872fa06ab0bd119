//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The wait before the next attempt to connect. The caller passes the random number generator.
struct Backoff: Sendable {
    /// Maximum wait after the first refusal. It doubles after each further one.
    static let initialLimit: TimeAmount = .milliseconds(250)
    /// Maximum wait during the first ``earlyFailures`` refusals. It is short, because open streams continue only when the
    /// relay is connected again.
    static let earlyLimit: TimeAmount = .seconds(3)
    /// Number of consecutive refusals after which the limit is ``lateLimit``.
    static let earlyFailures = 60
    /// Maximum wait during the first ``closedPortFailures`` attempts if the port is closed. Such an attempt costs the relay's
    /// host almost nothing, and the relay may only be restarting.
    static let closedPortLimit: TimeAmount = .seconds(1)
    /// Number of consecutive attempts after which the limit is ``lateLimit`` if the port is closed. They take about two minutes.
    static let closedPortFailures = 160
    /// Maximum wait after more failures.
    static let lateLimit: TimeAmount = .seconds(30)
    /// Wait after an attempt that nothing answered.
    static let unansweredWait: TimeAmount = .seconds(1)
    /// How long attempts that nothing answers are repeated after ``unansweredWait``. After that, waits double up to
    /// ``lateLimit``.
    static let eagerTime: TimeAmount = .minutes(2)
    /// Wait after a relay asked for fewer attempts and named no time. It doubles up to ``mostLimitedWait``.
    static let limitedWait: TimeAmount = .seconds(30)
    /// Maximum wait after a relay asked for fewer attempts and named no time.
    static let mostLimitedWait: TimeAmount = .minutes(10)
    /// A connection that lasted this long resets the count of failures.
    static let resetAfter: TimeAmount = .seconds(5)

    private var refusals = 0
    /// Number of consecutive attempts that found the port closed.
    private var closedPorts = 0
    private var limitations = 0
    /// When the first of the attempts began that nothing answered.
    private var unansweredSince: NIODeadline?
    /// Number of attempts that nothing answered after ``eagerTime``.
    private var lateAttempts = 0

    /// Records a failure. Returns the time to wait.
    ///
    /// After a refusal it is a random time between half of the limit and the limit. The limit doubles from
    /// ``initialLimit`` to ``earlyLimit``, or to ``closedPortLimit``. After ``earlyFailures`` refusals, or
    /// ``closedPortFailures``, it is ``lateLimit``.
    mutating func next(
        after failure: ConnectionFailure,
        at now: NIODeadline,
        using generator: inout some RandomNumberGenerator
    ) -> TimeAmount {
        switch failure {
        case .ended, .refused:
            self.closedPorts = 0
            self.refusals += 1
            let limit = self.refusals <= Self.earlyFailures ? Self.earlyLimit : Self.lateLimit
            return Self.wait(after: self.refusals, limit: limit, using: &generator)
        case .portClosed:
            self.closedPorts += 1
            let limit = self.closedPorts <= Self.closedPortFailures ? Self.closedPortLimit : Self.lateLimit
            return Self.wait(after: self.closedPorts, limit: limit, using: &generator)
        case .unanswered:
            return self.nextUnanswered(at: now)
        case .limited(let retryAfter):
            let least = min(Self.mostLimitedWait, Self.doubled(Self.unansweredWait, self.limitations))
            let own = min(Self.mostLimitedWait, Self.doubled(Self.limitedWait, self.limitations))
            let wait = retryAfter.map { max($0, least) } ?? own
            self.limitations += 1
            // A tenth more, at random, so that the clients of a relay do not return at the same time.
            return wait + .nanoseconds(Int64.random(in: 0...max(1, wait.nanoseconds / 10), using: &generator))
        }
    }

    private static func wait(
        after failures: Int,
        limit: TimeAmount,
        using generator: inout some RandomNumberGenerator
    ) -> TimeAmount {
        let ceiling = min(limit.nanoseconds, Self.initialLimit.nanoseconds << Int64(min(failures - 1, 10)))
        return .nanoseconds(Int64.random(in: (ceiling / 2)...ceiling, using: &generator))
    }

    /// Returns the time until the next attempt that may run beside one that nothing has answered.
    mutating func nextUnanswered(at now: NIODeadline) -> TimeAmount {
        let since = self.unansweredSince ?? now
        self.unansweredSince = since
        guard now - since >= Self.eagerTime else { return Self.unansweredWait }
        self.lateAttempts += 1
        return min(Self.lateLimit, Self.doubled(Self.unansweredWait, self.lateAttempts))
    }

    private static func doubled(_ time: TimeAmount, _ times: Int) -> TimeAmount {
        .nanoseconds(time.nanoseconds << Int64(min(times, 10)))
    }

    /// Records that a connection ended after `duration`.
    mutating func connectionEnded(after duration: TimeAmount) {
        self.networkChanged()
        guard duration >= Self.resetAfter else { return }
        self = Backoff()
    }

    /// Records that the network may answer again. Refusals still count.
    mutating func networkChanged() {
        self.unansweredSince = nil
        self.lateAttempts = 0
    }
}
