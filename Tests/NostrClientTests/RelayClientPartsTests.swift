//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto
import TestSupport
import Testing

@testable import NostrClient

@Suite("Small parts of the relay client")
struct RelayClientPartsTests {
    static let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

    @Test("connections to one relay share its budget, also one that comes later")
    func sharedBudget() {
        let shared = SharedBudget(EventBudget(eventsPerMinute: 6))
        var first = EventRate(budget: shared)
        var second = EventRate(budget: shared)
        for _ in 0..<3 {
            #expect(first.wait(at: Self.start) == nil)
            first.sent(at: Self.start)
            #expect(second.wait(at: Self.start) == nil)
            second.sent(at: Self.start)
        }
        for rate in [first, second, EventRate(budget: shared)] {
            #expect(rate.wait(at: Self.start).map { $0 > .seconds(5) && $0 <= .seconds(10) } == true)
        }
        #expect(EventRate(budget: nil).wait(at: Self.start) == nil)
    }

    @Test("after refusals, waits grow to 3 s, after two minutes to 30 s, and holding a connection starts over")
    func backoff() {
        var generator = SeededGenerator(seed: 1)
        var backoff = Backoff()
        func next() -> TimeAmount { backoff.next(after: .refused, at: Self.start, using: &generator) }
        let waits = (0..<80).map { _ in next() }
        #expect(waits[0] <= .milliseconds(250))
        #expect(waits[1] <= .milliseconds(500))
        #expect(waits.allSatisfy { $0 <= .seconds(30) && $0 >= .milliseconds(125) })
        #expect(waits.prefix(Backoff.earlyFailures).allSatisfy { $0 <= .seconds(3) })
        #expect(waits[79] >= .seconds(15))
        backoff.connectionEnded(after: .seconds(4))
        #expect(next() >= .seconds(15))
        backoff.connectionEnded(after: .seconds(5))
        #expect(next() <= .milliseconds(250))
    }

    @Test("while the port is closed, waits grow to a second, and after two minutes to 30 s")
    func closedPort() {
        var generator = SeededGenerator(seed: 1)
        var backoff = Backoff()
        let waits = (0..<170).map { _ in backoff.next(after: .portClosed, at: Self.start, using: &generator) }
        #expect(waits[0] <= .milliseconds(250))
        let early = waits.prefix(Backoff.closedPortFailures)
        #expect(early.allSatisfy { $0 <= .seconds(1) })
        #expect((.seconds(80)...(.seconds(160))).contains(early.reduce(.zero, +)))
        #expect(waits[169] >= .seconds(15))
        // A proxy that is there before the relay refuses at first.
        var restart = Backoff()
        for _ in 0..<70 { _ = restart.next(after: .portClosed, at: Self.start, using: &generator) }
        #expect(restart.next(after: .refused, at: Self.start, using: &generator) <= .milliseconds(250))
        #expect(restart.next(after: .portClosed, at: Self.start, using: &generator) <= .milliseconds(250))
        let closed = IOError(errnoCode: ECONNREFUSED, reason: "connect")
        #expect(ConnectionFailure(closed) == .portClosed)
        #expect(ConnectionFailure(IOError(errnoCode: EHOSTUNREACH, reason: "connect")) == .unanswered)
    }

    @Test("while nothing answers, each second for two minutes, then ever more rarely until the network changes")
    func unanswered() {
        var generator = SeededGenerator(seed: 1)
        var backoff = Backoff()
        var now = Self.start
        while now < Self.start + .minutes(2) {
            #expect(backoff.next(after: .unanswered, at: now, using: &generator) == .seconds(1))
            now = now + .seconds(1)
        }
        let late = (0..<8).map { _ in backoff.next(after: .unanswered, at: now, using: &generator) }
        #expect(late.first == .seconds(2))
        #expect(late.last == .seconds(30))
        backoff.networkChanged()
        #expect(backoff.next(after: .unanswered, at: now, using: &generator) == .seconds(1))
    }

    @Test("a relay that asks for fewer attempts gets them")
    func limited() {
        var generator = SeededGenerator(seed: 1)
        var backoff = Backoff()
        let stated = backoff.next(after: .limited(retryAfter: .seconds(120)), at: Self.start, using: &generator)
        #expect(stated >= .seconds(120) && stated <= .seconds(132))
        let waits = (0..<10).map { _ in
            backoff.next(after: .limited(retryAfter: nil), at: Self.start, using: &generator)
        }
        #expect(waits[0] >= .seconds(30))
        #expect(waits[9] >= .minutes(10) && waits[9] <= .minutes(11))
    }

    @Test("silence is found after less than a second without an acknowledgement, or five without an answer")
    func silence() {
        var watch = AnswerWatch()
        let start = Self.start
        #expect(watch.verdict(isUnacknowledged: true, at: start) == .answered)
        watch.sent(at: start)
        watch.sent(at: start + .milliseconds(200))
        let check = start + AnswerWatch.networkTimeout
        #expect(watch.checkTime == check)
        #expect(watch.verdict(isUnacknowledged: true, at: start + .milliseconds(250)) == .wait(until: check))
        #expect(watch.verdict(isUnacknowledged: true, at: check) == .silent)
        #expect(watch.verdict(isUnacknowledged: false, at: check) == .wait(until: check + AnswerWatch.networkTimeout))
        #expect(watch.verdict(isUnacknowledged: false, at: start + .seconds(5)) == .silent)
        watch.heard()
        #expect(watch.verdict(isUnacknowledged: true, at: start + .seconds(9)) == .answered)
        watch.verify(at: start + .seconds(10))
        #expect(watch.verdict(isUnacknowledged: false, at: start + .milliseconds(10_500)) == .silent)
    }

    @Test("ids are remembered within bounds")
    func deduplicator() {
        var deduplicator = EventDeduplicator(capacity: 10)
        let ids = (0..<40).map { _ in EventID(.random()) }
        for id in ids {
            let first = deduplicator.insert(id)
            let second = deduplicator.insert(id)
            #expect(first)
            #expect(!second)
        }
        #expect(!deduplicator.contains(ids[0]))
        #expect(ids.suffix(10).allSatisfy { deduplicator.contains($0) })
    }

    @Test(
        "relays that others name are dialled only where that is harmless",
        arguments: [
            ("8.8.8.8", true, true), ("127.0.0.1", false, true), ("10.1.2.3", false, true), ("::1", false, true),
            ("169.254.169.254", false, false), ("100.100.100.200", false, false), ("224.0.0.1", false, false),
            ("0.0.0.0", false, false),
            ("::ffff:127.0.0.1", false, true), ("fe80::1", false, false),
        ]
    )
    func dialPolicy(address: String, byOthers: Bool, byOthersLocal: Bool) throws {
        let address = try SocketAddress(ipAddress: address, port: 1)
        #expect(DialPolicy.configured.allows(address))
        #expect(DialPolicy.untrusted.allows(address) == byOthers)
        #expect(DialPolicy.untrustedAllowingLocal.allows(address) == byOthersLocal)
    }
}
