//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Decides when a relay, or the network to it, has been silent for too long. It performs no I/O.
struct AnswerWatch: Sendable {
    /// Time after which an unacknowledged segment may mean that the network does not answer. It is longer on long paths;
    /// see `WebSocket.isUnacknowledged(for:)`.
    static let networkTimeout: TimeAmount = .milliseconds(300)
    /// Time after which a missing answer means that the relay does not answer.
    static let relayTimeout: TimeAmount = .seconds(5)
    /// Time for the answer if there is reason to believe that the connection has ended.
    static let verificationTimeout: TimeAmount = .milliseconds(500)

    enum Verdict: Hashable {
        /// No answer is missing.
        case answered
        /// Ask again at this time.
        case wait(until: NIODeadline)
        case silent
    }

    /// When the oldest message was sent that the relay should have answered; nil if it has answered.
    private var expectedSince: NIODeadline?
    private var timeouts = (network: Self.networkTimeout, relay: Self.relayTimeout)

    /// Records that a message was sent which the relay answers.
    mutating func sent(at now: NIODeadline) {
        if self.expectedSince == nil { self.expectedSince = now }
    }

    /// Records that a message was sent to find out whether the connection still exists.
    mutating func verify(at now: NIODeadline) {
        self.expectedSince = now
        self.timeouts = (Self.verificationTimeout, Self.verificationTimeout)
    }

    /// Records that anything was received.
    mutating func heard() {
        guard self.expectedSince != nil else { return }
        self = AnswerWatch()
    }

    /// When to ask for a verdict; nil if no answer is missing.
    var checkTime: NIODeadline? { self.expectedSince.map { $0 + self.timeouts.network } }

    /// How long something must have been unacknowledged to mean that the network does not answer.
    var networkTimeout: TimeAmount { self.timeouts.network }

    /// - Parameter isUnacknowledged: Whether something sent has not been acknowledged for ``networkTimeout``.
    func verdict(isUnacknowledged: Bool, at now: NIODeadline) -> Verdict {
        guard let expectedSince else { return .answered }
        if now < expectedSince + self.timeouts.network { return .wait(until: expectedSince + self.timeouts.network) }
        if isUnacknowledged || now >= expectedSince + self.timeouts.relay { return .silent }
        return .wait(until: min(now + self.timeouts.network, expectedSince + self.timeouts.relay))
    }
}
