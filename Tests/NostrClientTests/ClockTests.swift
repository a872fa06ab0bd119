//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import NostrClient

@Suite("Clocks of relays")
struct ClockTests {
    @Test("the median of the relays dates events, unless the difference is small or absurd")
    func correction() {
        #expect(ClockCorrection.seconds([]) == 0)
        #expect(ClockCorrection.seconds([180]) == 180)
        #expect(ClockCorrection.seconds([9, -9, 3]) == 0)
        #expect(ClockCorrection.seconds([-1_200, -1_201, 90_000]) == -1_200)
        #expect(ClockCorrection.seconds([2_000_000]) == 0)
    }

    @Test("a report stays right when the machine's clock is set")
    func progress() {
        let clock = RelayClock(reported: 1_800_000_000, at: 100)
        #expect(clock.time(at: 100) == 1_800_000_000)
        #expect(clock.time(at: 160) == 1_800_000_060)
    }
}
