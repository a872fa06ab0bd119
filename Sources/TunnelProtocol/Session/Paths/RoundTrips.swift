//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The round-trip times of a path, and the queue that they show.
struct RoundTrips: Sendable {
    /// The minimum RTT, which is that of the path without a queue.
    private(set) var minimum = MinimumRTT()
    /// The smallest RTT of the current round and of the one before, in nanoseconds.
    private var least = Int64.max
    private var lastLeast = Int64.max

    mutating func add(_ rtt: TimeAmount, at now: NIODeadline) {
        self.minimum.add(rtt, at: now)
        self.least = min(self.least, rtt.nanoseconds)
    }

    mutating func endRound() {
        self.lastLeast = self.least
        self.least = .max
    }

    /// Whether all packets of the round waited in a queue. The minimum may be that of small packets, and large ones take
    /// time without a queue, too.
    ///
    /// - Parameters:
    ///   - packet: The packet size in bytes.
    ///   - bandwidth: The bandwidth of the path in bytes per second.
    func hasQueue(packet: Int, bandwidth: Double) -> Bool {
        // Until the first RTT of a round, that of the one before counts.
        let least = self.least < .max ? self.least : self.lastLeast
        guard let minimum = self.minimum.nanoseconds, least < .max else { return false }
        let transfer = 2 * Double(packet) * 1e9 / max(bandwidth, 1)
        return least > minimum * 3 / 2 + 5_000_000 + Int64(min(transfer, 1e9))
    }

    /// Whether the queue of the round took longer than the path without it.
    func hasLongQueue(packet: Int, bandwidth: Double) -> Bool {
        guard let minimum = self.minimum.nanoseconds, self.least < .max else { return false }
        return self.hasQueue(packet: packet, bandwidth: bandwidth) && self.least > 2 * minimum + 20_000_000
    }

    /// Forgets the RTTs of the last rounds, because the queue is empty from now on.
    mutating func restart() {
        self.least = .max
        self.lastLeast = .max
    }

    /// Replaces the outdated minimum with the smallest RTT of the last two rounds. Returns false if none was measured.
    @discardableResult
    mutating func replaceMinimum(at now: NIODeadline) -> Bool {
        let least = min(self.least, self.lastLeast)
        guard least < .max else { return false }
        self.minimum.replace(by: least, at: now)
        return true
    }

    /// Keeps an outdated minimum, because a new one cannot be measured.
    mutating func keepMinimum(at now: NIODeadline) { self.minimum.keep(at: now) }
}
