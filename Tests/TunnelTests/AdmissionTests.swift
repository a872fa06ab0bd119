//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("What an exit admits")
struct AdmissionTests {
    private static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    @Test("messages of unknown keys and offers have a rate each")
    func rates() {
        var admission = Admission(.init(messages: 10, unused: 10), now: Self.now)
        let messages = (0..<100).filter { _ in admission.admitMessage(at: Self.now) }.count
        #expect(messages == 20)
        let offers = (0..<100).filter { _ in admission.admitOffer(at: Self.now) }.count
        #expect(offers == 40)
        #expect(admission.nextMessage(at: Self.now) == Self.now + .milliseconds(100))
        let isAdmitted = admission.admitMessage(at: Self.now + .milliseconds(100))
        #expect(isAdmitted)
    }

    @Test("messages that no stream follows have a lower rate")
    func unused() {
        var admission = Admission(.init(messages: 100, unused: 10), now: Self.now)
        let burst = (0..<200).filter { _ in admission.admitMessage(at: Self.now) }.count
        #expect(burst == 100)
        var now = Self.now
        var admitted = 0
        for _ in 0..<1_000 {
            now = now + .milliseconds(1)
            if admission.admitMessage(at: now) { admitted += 1 }
        }
        #expect(admitted == 10)
        #expect(admission.nextMessage(at: now) > now)
        // A client that uses what it requested makes room for another one.
        admission.recordUse()
        #expect(admission.nextMessage(at: now) == now)
        let isAdmitted = admission.admitMessage(at: now)
        #expect(isAdmitted)
    }

    @Test("of a relay's waiting messages, the one with the most work goes first; of equal ones, the oldest")
    func work() {
        var queue = StrangerQueue<String, String>()
        let relay = PathID(rawValue: 0)
        for (name, work) in [("a", 0), ("b", 8), ("c", 0), ("d", 12), ("e", 8)] {
            let isKept = queue.insert(name, id: name, work: work, from: relay, at: Self.now)
            #expect(isKept)
        }
        var order: [String] = []
        while let next = queue.next(at: Self.now) { order.append(next.element) }
        #expect(order == ["d", "b", "e", "a", "c"])
    }

    @Test("relays take turns, and a full queue keeps the messages with the most work")
    func flood() {
        var queue = StrangerQueue<Int, Int>()
        let (flooded, quiet) = (PathID(rawValue: 0), PathID(rawValue: 1))
        for number in 0..<1_000 { _ = queue.insert(number, id: number, work: 0, from: flooded, at: Self.now) }
        let isKept = queue.insert(-1, id: -1, work: 0, from: quiet, at: Self.now)
        let displaced = queue.insert(-2, id: -2, work: 9, from: flooded, at: Self.now)
        let isDropped = queue.insert(-3, id: -3, work: 0, from: flooded, at: Self.now)
        #expect(isKept && !displaced && !isDropped)
        let order = (0..<3).compactMap { _ in queue.next(at: Self.now)?.element }
        #expect(order == [-2, -1, 0])
        let expired = queue.next(at: Self.now + .seconds(2))
        #expect(expired == nil && queue.isEmpty)
    }

    @Test("a message that is repeated waits once for each relay")
    func repetition() {
        var queue = StrangerQueue<Int, Int>()
        let relays = (0..<2).map { PathID(rawValue: $0) }
        let kept = relays.map { relay in
            (0..<50).filter { _ in queue.insert(7, id: 7, work: 20, from: relay, at: Self.now) }.count
        }
        #expect(kept == [1, 1])
        var count = 0
        while queue.next(at: Self.now) != nil { count += 1 }
        #expect(count == 2)
        let isKept = queue.insert(7, id: 7, work: 20, from: relays[0], at: Self.now)
        #expect(isKept)
    }

    @Test("a client may continue while its key is in the list and allows every port that it used")
    func continues() throws {
        let (known, other) = (SecretKey.generate().publicKey, SecretKey.generate().publicKey)
        let keys = try AuthorizedKeys(parsing: "services=\"22\" \(known.hex)")
        #expect(Admission.mayContinue(known, usedPorts: [22], access: keys, at: 0))
        #expect(!Admission.mayContinue(known, usedPorts: [22, 80], access: keys, at: 0))
        #expect(!Admission.mayContinue(known, usedPorts: [nil], access: keys, at: 0))
        #expect(!Admission.mayContinue(other, usedPorts: [], access: keys, at: 0))
    }
}
