//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Timer and answers of a link")
struct LinkTimerTests {
    private let loop = EmbeddedEventLoop()

    @Test("the timer fires once, at the earliest deadline that was set")
    func earliest() {
        var fired = 0
        let timer = LinkTimer(loop: self.loop) { fired += 1 }
        let start = self.loop.now
        timer.set(start + .milliseconds(20))
        timer.set(start + .milliseconds(10))
        timer.set(start + .milliseconds(30))
        #expect(timer.deadline == start + .milliseconds(10))
        self.loop.advanceTime(by: .milliseconds(9))
        #expect(fired == 0)
        self.loop.advanceTime(by: .milliseconds(1))
        #expect(fired == 1)
        #expect(timer.deadline == nil)
        self.loop.advanceTime(by: .seconds(1))
        #expect(fired == 1)
    }

    @Test("a deadline that has passed fires once in the same turn, and a scheduled one stays")
    func due() {
        var fired = 0
        let timer = LinkTimer(loop: self.loop) { fired += 1 }
        timer.set(self.loop.now + .milliseconds(10))
        timer.set(self.loop.now)
        timer.set(self.loop.now)
        #expect(fired == 0)
        self.loop.run()
        #expect(fired == 1)
        self.loop.advanceTime(by: .milliseconds(10))
        #expect(fired == 2)
        timer.set(self.loop.now)
        timer.cancel()
        self.loop.run()
        #expect(fired == 2)
    }

    @Test("a deadline can be delayed explicitly, and a cancelled timer does not fire")
    func replacedAndCancelled() {
        var fired = 0
        let timer = LinkTimer(loop: self.loop) { fired += 1 }
        timer.set(self.loop.now + .milliseconds(10))
        timer.replace(by: self.loop.now + .milliseconds(50))
        self.loop.advanceTime(by: .milliseconds(49))
        #expect(fired == 0)
        timer.cancel()
        self.loop.advanceTime(by: .seconds(1))
        #expect(fired == 0)
    }

    @Test("the first acceptance of an event is reported, and a failure only if every relay failed")
    func answers() {
        var outcomes: [PublishOutcome] = []
        let accepted = PublishAnswers(count: 3) { outcomes.append($0) }
        accepted.receive(.rejected(.refused))
        #expect(outcomes.isEmpty)
        accepted.receive(.accepted(PathID(rawValue: 1)))
        accepted.receive(.accepted(PathID(rawValue: 2)))
        #expect(outcomes == [.accepted(PathID(rawValue: 1))])

        outcomes = []
        let failed = PublishAnswers(count: 2) { outcomes.append($0) }
        failed.receive(.rejected(.refused))
        failed.receive(.lost)
        #expect(outcomes == [.lost])
    }
}
