//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// A stream that can be ended to make room for another.
protocol EvictableStream: AnyObject {
    var startedAt: NIODeadline { get }
    /// Whether the client has sent nothing.
    var hasReceivedNothing: Bool { get }
    /// Ends the stream with ``StreamEnd/tooManyStreams``.
    func evict()
}

/// Limits the number of streams of one kind at an exit.
struct StreamQuota {
    private let limit: Int
    /// Number of connection attempts. An attempt may last longer than its stream.
    private var attempts = 0
    private var open: [UInt64: any EvictableStream] = [:]
    private var starting: Set<UInt64> = []
    /// Stream numbers, oldest first. The numbers of ended streams are removed later.
    private var order: Deque<UInt64> = []
    private var nextNumber: UInt64 = 0

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.open.count + self.starting.count }
    var isFull: Bool { max(self.count, self.attempts) >= self.limit }

    /// Counts a new stream and returns its number. Call ``enter(_:_:)`` when its endpoint exists, and ``end(_:)`` when
    /// it has ended.
    mutating func begin() -> UInt64 {
        self.nextNumber += 1
        self.starting.insert(self.nextNumber)
        self.order.append(self.nextNumber)
        if self.order.count > 2 * self.count + 64 {
            let (open, starting) = (self.open, self.starting)
            self.order.removeAll { open[$0] == nil && !starting.contains($0) }
        }
        return self.nextNumber
    }

    mutating func enter(_ number: UInt64, _ stream: any EvictableStream) {
        guard self.starting.remove(number) != nil else { return }
        self.open[number] = stream
    }

    mutating func end(_ number: UInt64) {
        self.starting.remove(number)
        self.open[number] = nil
    }

    /// Counts an attempt to connect to a target. Call ``attemptEnded()`` once when it has ended.
    mutating func attemptBegan() { self.attempts += 1 }

    mutating func attemptEnded() { self.attempts -= 1 }

    /// Returns whether a session with `own` streams may open another one. If at least half of the limit is in use, each
    /// session is limited to its share, so that one session cannot exhaust the limit.
    func hasRoom(beside own: Int, of sessions: Int) -> Bool {
        guard !self.isFull else { return false }
        return self.count < self.limit / 2 || own <= max(4, self.limit / max(1, sessions))
    }

    /// Removes and returns the oldest stream whose client has sent no data, if the stream is older than `age`. The
    /// caller evicts it. Clients therefore cannot exhaust the limit with streams on which they send no data.
    mutating func takeSilent(olderThan age: TimeAmount) -> (any EvictableStream)? {
        // If the attempts alone reach the limit, the end of a stream does not make room.
        guard self.attempts < self.limit else { return nil }
        while let number = self.order.first {
            guard let stream = self.open[number], stream.hasReceivedNothing else {
                self.order.removeFirst()
                continue
            }
            guard stream.startedAt + age <= .now() else { return nil }
            self.order.removeFirst()
            self.open[number] = nil
            return stream
        }
        return nil
    }
}
