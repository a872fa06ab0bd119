//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// Jobs of several clients that wait for a limited number of workers. Each client gets the same share, however many jobs
/// it has. It performs no I/O.
struct FairQueue<Client: Hashable & Sendable, Job: Sendable>: Sendable {
    /// The limits of a queue.
    struct Limits: Sendable {
        /// Number of jobs that run at the same time.
        var running: Int
        /// Number of jobs of one client that run at the same time.
        var runningPerClient: Int
        /// Number of jobs of all clients that wait.
        var waiting: Int
        /// Number of jobs of one client that wait.
        var waitingPerClient: Int
    }

    private struct Share: Sendable {
        var running = 0
        var waiting: Deque<Job> = []
    }

    private let limits: Limits
    private var shares: [Client: Share] = [:]
    /// Clients with waiting jobs, in the order of their turns.
    private var turns: Deque<Client> = []
    private(set) var runningCount = 0
    private(set) var waitingCount = 0

    init(_ limits: Limits) { self.limits = limits }

    /// Adds a job.
    ///
    /// - Returns: The job that has no place. This is the new job, or the last one of the client with the most waiting jobs
    ///   if that client has more than this one. Nil if there is room.
    mutating func append(_ job: Job, of client: Client) -> Job? {
        guard self.shares[client]?.waiting.count ?? 0 < self.limits.waitingPerClient else { return job }
        var displaced: Job?
        if self.waitingCount >= self.limits.waiting {
            guard let longest = self.shares.max(by: { $0.value.waiting.count < $1.value.waiting.count }),
                longest.value.waiting.count > (self.shares[client]?.waiting.count ?? 0) + 1
            else { return job }
            displaced = self.shares[longest.key]?.waiting.popLast()
            self.waitingCount -= 1
        }
        if self.shares[client]?.waiting.isEmpty ?? true { self.turns.append(client) }
        self.shares[client, default: Share()].waiting.append(job)
        self.waitingCount += 1
        return displaced
    }

    /// Removes and returns the next job that may run now.
    mutating func next() -> (client: Client, job: Job)? {
        guard self.runningCount < self.limits.running else { return nil }
        for _ in 0..<self.turns.count {
            guard let client = self.turns.popFirst(), var share = self.shares[client] else { continue }
            guard share.running < self.limits.runningPerClient, let job = share.waiting.popFirst() else {
                self.turns.append(client)
                continue
            }
            share.running += 1
            if !share.waiting.isEmpty { self.turns.append(client) }
            self.shares[client] = share
            self.runningCount += 1
            self.waitingCount -= 1
            return (client, job)
        }
        return nil
    }

    /// Records that a job of a client has ended.
    mutating func finished(_ client: Client) {
        guard let running = self.shares[client]?.running, running > 0 else { return }
        self.shares[client]?.running = running - 1
        self.runningCount -= 1
        if running == 1, self.shares[client]?.waiting.isEmpty ?? true { self.shares[client] = nil }
    }
}
