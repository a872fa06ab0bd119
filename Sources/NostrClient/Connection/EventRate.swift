//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Limits the events of everything that shares a connection to a relay: to a budget, if there is one, and after the relay
/// has rejected an event with `rate-limited:`. Sessions pace themselves as well, but do not know of each other.
struct EventRate {
    /// An event may be earlier than the pacer allows by this part of the interval, because a session that paces itself
    /// measured the time slightly earlier.
    private static let tolerance: Int64 = 5

    private var pacer = EventPacer()
    private let budget: SharedBudget?

    /// - Parameter budget: A limit of this node's own; nil for none.
    init(budget: SharedBudget?) { self.budget = budget }

    /// The rate in events per second; nil if the relay has not rejected an event.
    var limitedRate: Double? { self.pacer.rate }

    /// How long an event must wait; nil if it may be sent now.
    func wait(at now: NIODeadline) -> TimeAmount? {
        let next = max(self.pacer.wait(at: now) ?? now, self.budget?.wait(at: now) ?? now)
        let interval = max(self.pacer.interval, self.budget?.budget.interval ?? .zero)
        return (next - now).nanoseconds <= interval.nanoseconds / Self.tolerance ? nil : next - now
    }

    mutating func sent(at now: NIODeadline) {
        self.pacer.sent(at: now)
        self.budget?.sent(at: now)
    }

    /// Handles the relay's answer to an event. Returns whether the relay was found to limit the rate.
    mutating func receiveOK(_ isAccepted: Bool, _ reason: ReasonText, sentAt: NIODeadline, at now: NIODeadline) -> Bool
    {
        let wasLimited = self.pacer.rate != nil
        if isAccepted {
            self.pacer.accepted(at: now)
        } else if reason.prefix == .rateLimited {
            self.pacer.rejected(sentAt: sentAt, at: now)
        }
        return !wasLimited && self.pacer.rate != nil
    }
}
