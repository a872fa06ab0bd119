//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// The budget of a relay that belongs to others. All connections to it share the budget, also later ones.
final class SharedBudget {
    let budget: EventBudget
    private var pacer: EventPacer

    init(_ budget: EventBudget) {
        self.budget = budget
        self.pacer = EventPacer(budget: budget)
    }

    /// When the next event may be sent; nil if it may be sent now.
    func wait(at now: NIODeadline) -> NIODeadline? { self.pacer.wait(at: now) }

    func sent(at now: NIODeadline) { self.pacer.sent(at: now) }
}
