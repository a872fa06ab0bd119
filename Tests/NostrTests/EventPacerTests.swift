//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TestSupport
import Testing

@testable import Nostr

@Suite("The rate of events to a relay that limits it")
struct EventPacerTests {
    /// A relay that allows a burst and then a rate (token bucket), or a number of events in each fixed period.
    struct Relay {
        enum Limit {
            case bucket(burst: Double, perSecond: Double)
            case period(seconds: Double, count: Int)
        }

        let limit: Limit
        private var tokens: Double
        private var last = 0.0
        private var period = (number: -1, count: 0)

        init(_ limit: Limit) {
            self.limit = limit
            self.tokens = if case .bucket(let burst, _) = limit { burst } else { 0 }
        }

        mutating func accepts(at time: Double) -> Bool {
            switch self.limit {
            case .bucket(let burst, let perSecond):
                self.tokens = min(burst, self.tokens + (time - self.last) * perSecond)
                self.last = time
                guard self.tokens >= 1 else { return false }
                self.tokens -= 1
                return true
            case .period(let seconds, let count):
                let number = Int(time / seconds)
                if number != self.period.number { self.period = (number, 0) }
                self.period.count += 1
                return self.period.count <= count
            }
        }
    }

    /// Sends as many events as the pacer allows, of a sender that always has some. The answer takes a round trip.
    static func run(
        _ limit: Relay.Limit,
        seconds: Double,
        roundTrip: Double = 0.1,
        window: Int = 8
    ) -> (accepted: Int, rejected: Int) {
        var relay = Relay(limit)
        var pacer = EventPacer()
        var answers: [(at: Double, sentAt: Double, isAccepted: Bool)] = []
        var result = (accepted: 0, rejected: 0)
        func moment(_ time: Double) -> NIODeadline { .uptimeNanoseconds(UInt64((time + 100) * 1e9)) }
        for step in 0..<Int(seconds * 1_000) {
            let now = Double(step) / 1_000
            while let answer = answers.first, answer.at <= now {
                answers.removeFirst()
                if answer.isAccepted {
                    result.accepted += 1
                    pacer.accepted(at: moment(now))
                } else {
                    result.rejected += 1
                    pacer.rejected(sentAt: moment(answer.sentAt), at: moment(now))
                }
            }
            while answers.count < window, pacer.wait(at: moment(now)) == nil {
                pacer.sent(at: moment(now))
                answers.append((now + roundTrip, now, relay.accepts(at: now + roundTrip / 2)))
            }
        }
        return result
    }

    @Test(
        "few events are rejected, and most of what the relay allows is used",
        arguments: [(6.0, 0.1, 4, 0.6), (1, 0.1, 4, 0.3), (2, 1, 4, 0.6), (10, 5, 4, 0.6), (20, 60, 12, 0.6)]
    )
    func buckets(burst: Double, perSecond: Double, window: Int, share: Double) {
        let (accepted, rejected) = Self.run(.bucket(burst: burst, perSecond: perSecond), seconds: 600, window: window)
        #expect(rejected * 5 <= accepted + rejected, "\(accepted) \(rejected)")
        #expect(Double(accepted) >= share * (burst + 600 * perSecond), "\(accepted)")
    }

    @Test("a relay that counts in fixed periods", arguments: [(60.0, 6), (60, 120), (1, 10)])
    func periods(seconds: Double, count: Int) {
        let (accepted, rejected) = Self.run(.period(seconds: seconds, count: count), seconds: 1_200, window: 4)
        #expect(rejected * 5 <= accepted + rejected, "\(accepted) \(rejected)")
        #expect(Double(accepted) >= 0.5 * 1_200 / seconds * Double(count), "\(accepted)")
    }

    @Test("a relay that rejects everything is tried ever more rarely")
    func nothing() {
        let (accepted, rejected) = Self.run(.bucket(burst: 0, perSecond: 0), seconds: 3_600)
        #expect(accepted == 0)
        #expect(rejected < 25, "\(rejected)")
    }

    @Test("events that were in flight at a rejection do not reduce the rate again")
    func inFlight() throws {
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
        var pacer = EventPacer()
        for _ in 0..<100 { pacer.accepted(at: start) }
        pacer.rejected(sentAt: start, at: start + .milliseconds(100))
        let next = pacer.wait(at: start + .milliseconds(100))
        pacer.rejected(sentAt: start + .milliseconds(50), at: start + .milliseconds(150))
        #expect(pacer.wait(at: start + .milliseconds(100)) == next)
        pacer.rejected(sentAt: start + .milliseconds(120), at: start + .milliseconds(220))
        let later = try #require(pacer.wait(at: start + .milliseconds(220)))
        #expect(later > (next ?? later))
    }
}
