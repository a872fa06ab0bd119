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
    var isSilent: Bool { get }
    /// Ends the stream with ``StreamEnd/tooManyStreams``.
    func evict()
}

/// Limits the streams of one kind at an exit.
struct StreamQuota {
    private let limit: Int
    /// Connection attempts. One may outlive its stream.
    private var attempts = 0
    private var open: [UInt64: any EvictableStream] = [:]
    private var starting: Set<UInt64> = []
    /// Numbers by age, those of ended streams included until they are reached.
    private var order: Deque<UInt64> = []
    private var nextNumber: UInt64 = 0

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.open.count + self.starting.count }
    var isFull: Bool { max(self.count, self.attempts) >= self.limit }

    /// Counts a stream. Call ``enter(_:_:)`` at once, and ``end(_:)`` at its end.
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

    /// Counts an attempt to connect a target. Call ``attemptEnded()`` once.
    mutating func attemptBegan() { self.attempts += 1 }

    mutating func attemptEnded() { self.attempts -= 1 }

    /// Whether a session that has `own` streams gets one more. Above half of the limit each session has a share, so that one
    /// session with many streams does not lock out the others.
    func hasRoom(beside own: Int, of sessions: Int) -> Bool {
        guard !self.isFull else { return false }
        return self.count < self.limit / 2 || own <= max(4, self.limit / max(1, sessions))
    }

    /// Removes the oldest stream whose client has sent nothing, so that a client cannot lock out others by opening streams
    /// and sending nothing. The caller evicts it.
    mutating func takeSilent(olderThan age: TimeAmount) -> (any EvictableStream)? {
        // While there are that many attempts, the end of a stream makes no room.
        guard self.attempts < self.limit else { return nil }
        while let number = self.order.first {
            guard let stream = self.open[number], stream.isSilent else {
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
