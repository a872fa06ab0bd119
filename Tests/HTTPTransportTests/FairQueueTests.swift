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
        perClient: Int = 2,
        waiting: Int = 6,
        waitingPerClient: Int = 4
    ) -> FairQueue<String, Int> {
        FairQueue(
            FairQueue.Limits(
                running: running,
                runningPerClient: perClient,
                waiting: waiting,
                waitingPerClient: waitingPerClient
            )
        )
    }

    /// Adds jobs and starts what may run. Returns the started jobs.
    private static func add(_ jobs: [(String, Int)], to queue: inout FairQueue<String, Int>) -> [Int] {
        for (client, job) in jobs { _ = queue.append(job, of: client) }
        return Self.start(&queue)
    }

    private static func start(_ queue: inout FairQueue<String, Int>) -> [Int] {
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
        queue.finished("a")
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
            queue.finished(client)
            order += Self.start(&queue)
        }
        #expect(order == [4, 5, 2, 3])
    }

    @Test("a client's waiting jobs are limited, and a full queue makes room at the cost of the largest share")
    func full() {
        var queue = Self.queue(running: 0, waiting: 6, waitingPerClient: 4)
        var displaced = (1...5).map { queue.append($0, of: "a") }
        #expect(displaced == [nil, nil, nil, nil, 5])
        displaced = [6, 7].map { queue.append($0, of: "b") }
        #expect(displaced == [nil, nil])
        // The queue is full. Each new client takes a place of the one with the most.
        displaced = [(8, "c"), (9, "d")].map { queue.append($0.0, of: $0.1) }
        #expect(displaced == [4, 3])
        displaced = [(10, "e"), (11, "f")].map { queue.append($0.0, of: $0.1) }
        #expect(Set(displaced) == [2, 7])
        // Now everybody has one job.
        let last = queue.append(12, of: "g")
        #expect(last == 12)
        #expect(queue.waitingCount == 6)
    }

    @Test("nothing is left of a client whose jobs have ended")
    func forgotten() {
        var queue = Self.queue()
        _ = Self.add([("a", 1), ("a", 2)], to: &queue)
        queue.finished("a")
        queue.finished("a")
        queue.finished("a")
        #expect(queue.runningCount == 0)
        let next = Self.add([("a", 3)], to: &queue)
        #expect(next == [3])
    }
}
