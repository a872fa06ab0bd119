//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// How much was acknowledged in excess of the bandwidth, because acknowledgements arrive together (draft-ietf-ccwg-bbr,
/// section 5.5.9).
struct AckAggregation: Hashable, Sendable {
    private var maximum = RecentMaximum()
    private var start = NIODeadline.uptimeNanoseconds(0)
    private var bytes = 0

    static func == (left: Self, right: Self) -> Bool { left.start == right.start && left.bytes == right.bytes }

    func hash(into hasher: inout Hasher) { hasher.combine(self.bytes) }

    /// The recent maximum in bytes.
    var excess: Double { self.maximum.value }

    /// Records an acknowledgement of `bytes` bytes on a path of `bandwidth` bytes per second.
    mutating func add(_ bytes: Int, bandwidth: Double, window: Int, at now: NIODeadline) {
        guard bandwidth > 0 else { return }
        let expected = bandwidth * Double((now - self.start).nanoseconds) / 1e9
        if Double(self.bytes) <= expected {
            self.start = now
            self.bytes = bytes
            self.maximum.add(min(Double(bytes), Double(window)))
            return
        }
        self.bytes += bytes
        self.maximum.add(min(Double(self.bytes) - expected, Double(window)))
    }

    /// Starts a new period of the maximum.
    mutating func startPeriod() { self.maximum.startPeriod() }
}
