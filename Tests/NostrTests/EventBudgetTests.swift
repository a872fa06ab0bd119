//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Testing

@testable import Nostr

@Suite("Budgets of events")
struct EventBudgetTests {
    private static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    /// Sends an event whenever the pacer allows one. Returns the number of events in each minute.
    private static func flood(_ pacer: EventPacer, minutes: Int) -> [Int] {
        var pacer = pacer
        var now = Self.start
        var counts = [Int](repeating: 0, count: minutes)
        while true {
            if let next = pacer.wait(at: now) { now = next }
            let minute = Int((now - Self.start).nanoseconds / 60_000_000_000)
            guard minute < minutes else { return counts }
            counts[minute] += 1
            pacer.sent(at: now)
        }
    }

    @Test(
        "a burst of one minute's events is sent at once, and then no more than the budget",
        arguments: [1, 2, 60, 120]
    )
    func sustainedRate(perMinute: Int) {
        let counts = Self.flood(EventPacer(budget: EventBudget(eventsPerMinute: perMinute)), minutes: 5)
        #expect(counts[0] <= 2 * perMinute)
        #expect(counts.dropFirst().allSatisfy { $0 <= perMinute })
        #expect(counts.reduce(0, +) >= 5 * perMinute)
    }

    @Test("an unused budget grows to one minute's events, and not further")
    func unusedBudget() {
        var pacer = EventPacer(budget: EventBudget(eventsPerMinute: 10))
        let later = Self.start + .hours(5)
        pacer.sent(at: Self.start)
        for _ in 0..<10 {
            #expect(pacer.wait(at: later) == nil)
            pacer.sent(at: later)
        }
        #expect(pacer.wait(at: later) == later + .seconds(6))
    }

    @Test("the stricter of the budget and the relay's own limit applies")
    func relayLimit() {
        var pacer = EventPacer(budget: EventBudget(eventsPerMinute: 6_000))
        pacer.sent(at: Self.start)
        pacer.rejected(sentAt: Self.start, at: Self.start + .milliseconds(10))
        #expect(pacer.wait(at: Self.start + .milliseconds(10)) ?? Self.start > Self.start + .milliseconds(500))
        #expect(EventPacer().wait(at: Self.start) == nil && !EventPacer().isLimited)
    }
}
