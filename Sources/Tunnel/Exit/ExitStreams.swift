//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The streams of one kind that an exit has, and who goes when there are too many.
struct ExitStreams {
    let limit: Int
    /// Dials under way; one may outlive its stream.
    var dials = 0
    private var open: [UInt64: any EvictableStream] = [:]
    private var starting: Set<UInt64> = []
    /// By age. Those that are over stay until they come up, as numbers.
    private var order: Deque<UInt64> = []
    private var nextNumber: UInt64 = 0

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.open.count + self.starting.count }
    var isFull: Bool { max(self.count, self.dials) >= self.limit }

    /// Counts a stream. ``note(_:_:)`` follows at once, and ``end(_:)`` once.
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

    mutating func note(_ number: UInt64, _ stream: any EvictableStream) {
        guard self.starting.remove(number) != nil else { return }
        self.open[number] = stream
    }

    mutating func end(_ number: UInt64) {
        self.starting.remove(number)
        self.open[number] = nil
    }

    /// Whether a session that has `own` streams gets one more. Above half of the limit each session has a share of it, so
    /// that one with many does not shut out the others.
    func hasRoom(beside own: Int, of sessions: Int) -> Bool {
        guard !self.isFull else { return false }
        return self.count < self.limit / 2 || own <= max(4, self.limit / max(1, sessions))
    }

    /// Takes out the oldest stream whose client never sent a byte, so that opening many and saying nothing shuts nobody
    /// out. The caller ends it.
    mutating func takeSilent(olderThan age: TimeAmount) -> (any EvictableStream)? {
        // While that many dials are under way an end makes no room.
        guard self.dials < self.limit else { return nil }
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
