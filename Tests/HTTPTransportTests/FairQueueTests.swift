//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import HTTPTransport

@Suite("A queue that clients share evenly")
struct FairQueueTests {
    private static func queue(
        running: Int = 4,
        perGroup: Int = 4,
        perClient: Int = 2,
        waiting: Int = 6,
        waitingPerClient: Int = 4
    ) -> FairQueue<String, String, Int> {
        FairQueue(
            FairQueue.Limits(
                running: running,
                runningPerGroup: perGroup,
                runningPerClient: perClient,
                waiting: waiting,
                waitingPerClient: waitingPerClient
            )
        )
    }

    /// Adds jobs and starts what may run. Returns the started jobs.
    private static func add(_ jobs: [(String, Int)], to queue: inout FairQueue<String, String, Int>) -> [Int] {
        for (client, job) in jobs { _ = queue.append(job, of: Self.owner(client)) }
        return Self.start(&queue)
    }

    /// Returns a client of the same name as its group, or one that is written after its group and a slash.
    private static func owner(_ name: String) -> FairQueue<String, String, Int>.Owner {
        let parts = name.split(separator: "/").map(String.init)
        return .init(group: parts[0], client: parts[parts.count - 1])
    }

    private static func start(_ queue: inout FairQueue<String, String, Int>) -> [Int] {
        var started: [Int] = []
        while let next = queue.next() { started.append(next.job) }
        return started
    }

    @Test("one client never occupies all workers")
    func share() {
        var queue = Self.queue()
        let slow = Self.add([("a", 1), ("a", 2), ("a", 3), ("a", 4)], to: &queue)
        #expect(slow == [1, 2])
        let other = Self.add([("b", 5)], to: &queue)
        #expect(other == [5])
        queue.finished(Self.owner("a"))
        let next = Self.start(&queue)
        #expect(next == [3])
        #expect(queue.runningCount == 3)
        #expect(queue.waitingCount == 1)
    }

    @Test("waiting clients take turns")
    func turns() {
        var queue = Self.queue(running: 1, perClient: 1)
        let first = Self.add([("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5)], to: &queue)
        #expect(first == [1])
        var order: [Int] = []
        for client in ["a", "b", "c", "a"] {
            queue.finished(Self.owner(client))
            order += Self.start(&queue)
        }
        #expect(order == [4, 5, 2, 3])
    }

    @Test("a client's waiting jobs are limited, and a full queue makes room at the cost of the largest share")
    func full() {
        var queue = Self.queue(running: 0, waiting: 6, waitingPerClient: 4)
        var displaced = (1...5).map { queue.append($0, of: Self.owner("a")) }
        #expect(displaced == [nil, nil, nil, nil, 5])
        displaced = [6, 7].map { queue.append($0, of: Self.owner("b")) }
        #expect(displaced == [nil, nil])
        // The queue is full. Each new client takes a place of the one with the most.
        displaced = [(8, "c"), (9, "d")].map { queue.append($0.0, of: Self.owner($0.1)) }
        #expect(displaced == [4, 3])
        displaced = [(10, "e"), (11, "f")].map { queue.append($0.0, of: Self.owner($0.1)) }
        #expect(Set(displaced) == [2, 7])
        // Now everybody has one job.
        let last = queue.append(12, of: Self.owner("g"))
        #expect(last == 12)
        #expect(queue.waitingCount == 6)
    }

    @Test("nothing is left of a client whose jobs have ended")
    func forgotten() {
        var queue = Self.queue()
        _ = Self.add([("a", 1), ("a", 2)], to: &queue)
        queue.finished(Self.owner("a"))
        queue.finished(Self.owner("a"))
        queue.finished(Self.owner("a"))
        #expect(queue.runningCount == 0)
        let next = Self.add([("a", 3)], to: &queue)
        #expect(next == [3])
    }

    @Test("many clients of one group leave workers and places for others")
    func groups() {
        var queue = Self.queue(running: 4, perGroup: 2, waiting: 6)
        let slow = Self.add((0..<6).map { ("slow/\($0)", $0) }, to: &queue)
        #expect(slow == [0, 1])
        // Two more fill the queue.
        let result1 = Self.add([("slow/6", 6), ("slow/7", 7)], to: &queue)
        #expect(result1.isEmpty)
        // No client of the group has two jobs, so a further one finds no place.
        let result2 = queue.append(8, of: Self.owner("slow/8"))
        #expect(result2 == 8)
        let displaced = queue.append(9, of: Self.owner("other/1"))
        #expect(displaced.map { (2...7).contains($0) } == true)
        let result3 = Self.start(&queue)
        #expect(result3 == [9])
        queue.finished(Self.owner("slow/0"))
        let result4 = Self.start(&queue)
        #expect(result4.count == 1)
        #expect(queue.runningCount == 3)
    }

    @Test("jobs that are not preferred replace no preferred ones")
    func preferredStay() {
        var queue = Self.queue(running: 0, waiting: 6, waitingPerClient: 6)
        let me = FairQueue<String, String, Int>.Owner(group: "me", client: "me", isPreferred: true)
        for job in 0..<6 { _ = queue.append(job, of: me) }
        let refused = queue.append(100, of: Self.owner("a"))
        #expect(refused == 100)
        let other = FairQueue<String, String, Int>.Owner(group: "other", client: "other", isPreferred: true)
        let displaced = queue.append(200, of: other)
        #expect(displaced == 5)
    }

    @Test("a client has the same limit whatever its groups")
    func clientOfManyGroups() {
        var queue = Self.queue(running: 4, perClient: 1)
        let result5 = Self.add((0..<4).map { ("domain\($0)/a", $0) }, to: &queue)
        #expect(result5 == [0])
        let result6 = Self.add([("domain9/b", 9)], to: &queue)
        #expect(result6 == [9])
        queue.finished(Self.owner("domain0/a"))
        let result7 = Self.start(&queue)
        #expect(result7 == [1])
    }

    @Test("preferred groups go first, displace others, and have workers that others do not occupy")
    func preferred() {
        var queue = Self.queue(running: 4, perGroup: 4, perClient: 4, waiting: 6, waitingPerClient: 6)
        let me = FairQueue<String, String, Int>.Owner(group: "me", client: "me", isPreferred: true)
        let others = Self.add((0..<6).map { ("d\($0)/c\($0)", $0) }, to: &queue)
        #expect(others == [0, 1, 2])
        let more = Self.add((6..<9).map { ("d\($0)/c\($0)", $0) }, to: &queue)
        #expect(more.isEmpty && queue.waitingCount == 6)
        let displaced = queue.append(100, of: me)
        #expect(displaced != nil)
        let mine = Self.start(&queue)
        #expect(mine == [100])
        queue.finished(Self.owner("d0/c0"))
        _ = queue.append(101, of: me)
        let next = Self.start(&queue)
        #expect(next == [101])
        queue.finished(me)
        queue.finished(me)
        let rest = Self.start(&queue)
        #expect(rest.count == 1)
    }
}
