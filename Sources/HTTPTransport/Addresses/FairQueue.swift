//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule

/// Jobs of several clients that wait for a limited number of workers.
///
/// Preferred groups are served first, and only they may use the last quarter of the workers. Among preferred groups, and
/// among the others, each group gets an equal share, and so does each client of a group, however many jobs it has.
/// It performs no I/O.
struct FairQueue<Group: Hashable & Sendable, Client: Hashable & Sendable, Job: Sendable>: Sendable {
    /// The limits of a queue.
    struct Limits: Sendable {
        /// Number of jobs that run at the same time.
        var running: Int
        /// Number of jobs of one group that run at the same time.
        var runningPerGroup: Int
        /// Number of jobs of one client that run at the same time.
        var runningPerClient: Int
        /// Number of jobs of all clients that wait.
        var waiting: Int
        /// Number of jobs of one client that wait.
        var waitingPerClient: Int
    }

    /// The client of a job. A client may have jobs in several groups.
    struct Owner: Hashable, Sendable {
        let group: Group
        let client: Client
        /// Whether the group is preferred.
        var isPreferred = false
    }

    private struct Members: Sendable {
        var running = 0
        var waiting = 0
        var isPreferred = false
        var jobs: [Client: Deque<Job>] = [:]
        /// Clients with waiting jobs, in the order of their turns.
        var turns: Deque<Client> = []
    }

    private struct Count: Sendable {
        var running = 0
        var waiting = 0
    }

    private let limits: Limits
    private var groups: [Group: Members] = [:]
    private var clients: [Client: Count] = [:]
    /// Groups with waiting jobs, in the order of their turns.
    private var turns: Deque<Group> = []
    private var preferredTurns: Deque<Group> = []
    private var preferredRunningCount = 0
    private(set) var runningCount = 0
    private(set) var waitingCount = 0

    init(_ limits: Limits) { self.limits = limits }

    /// Adds a job.
    ///
    /// When the queue is full, a preferred job replaces one of the largest group that is not preferred. Any other job replaces
    /// one of the largest group, or of the largest client in its own group, if that has at least two more jobs. Only preferred
    /// jobs replace preferred ones.
    ///
    /// - Returns: The job that has no place: a replaced job, or the new one. Nil if there is room.
    mutating func append(_ job: Job, of owner: Owner) -> Job? {
        guard self.clients[owner.client]?.waiting ?? 0 < self.limits.waitingPerClient else { return job }
        var displaced: Job?
        if self.waitingCount >= self.limits.waiting {
            displaced = self.makeRoom(for: owner)
            if displaced == nil { return job }
        }
        var members = self.groups[owner.group] ?? Members()
        members.isPreferred = owner.isPreferred
        if members.waiting == 0 { self.enqueue(owner.group, owner.isPreferred) }
        if members.jobs[owner.client]?.isEmpty ?? true { members.turns.append(owner.client) }
        members.jobs[owner.client, default: []].append(job)
        members.waiting += 1
        self.groups[owner.group] = members
        self.clients[owner.client, default: Count()].waiting += 1
        self.waitingCount += 1
        return displaced
    }

    private mutating func enqueue(_ group: Group, _ isPreferred: Bool) {
        if isPreferred { self.preferredTurns.append(group) } else { self.turns.append(group) }
    }

    /// Makes room for a new job of `owner` by removing a waiting job. Returns the removed job; nil if none may be removed.
    private mutating func makeRoom(for owner: Owner) -> Job? {
        if owner.isPreferred, let group = self.largestGroup(where: { !$0.isPreferred }) {
            return self.removeLast(in: group)
        }
        let size = self.groups[owner.group]?.waiting ?? 0
        let larger = self.largestGroup { $0.waiting > size + 1 && $0.isPreferred == owner.isPreferred }
        if let larger { return self.removeLast(in: larger) }
        let own = self.groups[owner.group]?.jobs ?? [:]
        guard own.values.contains(where: { $0.count > (own[owner.client]?.count ?? 0) + 1 }) else { return nil }
        return self.removeLast(in: owner.group)
    }

    private func largestGroup(where isEligible: (Members) -> Bool) -> Group? {
        self.groups.filter { $0.value.waiting > 0 && isEligible($0.value) }
            .max { $0.value.waiting < $1.value.waiting }?.key
    }

    /// Removes and returns the last job of the client with the most jobs in a group.
    private mutating func removeLast(in group: Group) -> Job? {
        guard let client = self.groups[group]?.jobs.max(by: { $0.value.count < $1.value.count })?.key else {
            return nil
        }
        let job = self.groups[group]?.jobs[client]?.popLast()
        self.groups[group]?.waiting -= 1
        self.clients[client]?.waiting -= 1
        self.waitingCount -= 1
        self.removeIfIdle(Owner(group: group, client: client))
        self.removeIfIdle(client)
        return job
    }

    /// Removes and returns the next job that may run now.
    mutating func next() -> (owner: Owner, job: Job)? {
        guard self.runningCount < self.limits.running else { return nil }
        for _ in 0..<self.preferredTurns.count {
            if let group = self.preferredTurns.popFirst(), let next = self.turn(of: group) { return next }
        }
        let others = self.runningCount - self.preferredRunningCount
        guard others < self.limits.running - self.limits.running / 4 else { return nil }
        for _ in 0..<self.turns.count {
            if let group = self.turns.popFirst(), let next = self.turn(of: group) { return next }
        }
        return nil
    }

    private mutating func turn(of group: Group) -> (owner: Owner, job: Job)? {
        guard let members = self.groups[group], members.waiting > 0 else { return nil }
        let next = members.running < self.limits.runningPerGroup ? self.next(in: group) : nil
        if self.groups[group]?.waiting ?? 0 > 0 { self.enqueue(group, members.isPreferred) }
        return next
    }

    private mutating func next(in group: Group) -> (owner: Owner, job: Job)? {
        for _ in 0..<(self.groups[group]?.turns.count ?? 0) {
            guard let client = self.groups[group]?.turns.popFirst(), self.groups[group]?.jobs[client] != nil else {
                continue
            }
            guard self.clients[client]?.running ?? 0 < self.limits.runningPerClient,
                let job = self.groups[group]?.jobs[client]?.popFirst()
            else {
                self.groups[group]?.turns.append(client)
                continue
            }
            if self.groups[group]?.jobs[client]?.isEmpty == false {
                self.groups[group]?.turns.append(client)
            } else {
                self.groups[group]?.jobs[client] = nil
            }
            self.groups[group]?.running += 1
            self.groups[group]?.waiting -= 1
            self.clients[client]?.running += 1
            self.clients[client]?.waiting -= 1
            let isPreferred = self.groups[group]?.isPreferred == true
            self.runningCount += 1
            if isPreferred { self.preferredRunningCount += 1 }
            self.waitingCount -= 1
            return (Owner(group: group, client: client, isPreferred: isPreferred), job)
        }
        return nil
    }

    /// Records that a job has ended.
    mutating func finished(_ owner: Owner) {
        guard self.groups[owner.group]?.running ?? 0 > 0, self.clients[owner.client]?.running ?? 0 > 0 else { return }
        self.groups[owner.group]?.running -= 1
        self.clients[owner.client]?.running -= 1
        self.runningCount -= 1
        if owner.isPreferred { self.preferredRunningCount -= 1 }
        self.removeIfIdle(owner)
        self.removeIfIdle(owner.client)
    }

    private mutating func removeIfIdle(_ owner: Owner) {
        guard var members = self.groups[owner.group] else { return }
        if members.jobs[owner.client]?.isEmpty == true {
            members.jobs[owner.client] = nil
            members.turns.removeAll { $0 == owner.client }
        }
        let isIdle = members.running == 0 && members.waiting == 0
        self.groups[owner.group] = isIdle ? nil : members
        if members.waiting == 0 {
            self.turns.removeAll { $0 == owner.group }
            self.preferredTurns.removeAll { $0 == owner.group }
        }
    }

    private mutating func removeIfIdle(_ client: Client) {
        if let count = self.clients[client], count.running == 0, count.waiting == 0 { self.clients[client] = nil }
    }
}
