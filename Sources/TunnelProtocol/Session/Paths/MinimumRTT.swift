//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The round-trip time of a path without queues: the minimum of the last 10 s.
struct MinimumRTT: Hashable, Sendable {
    /// How long a measurement is valid (draft-ietf-ccwg-bbr: MinRTTFilterLen).
    static let lifetime: TimeAmount = .seconds(10)

    /// An RTT confirms the minimum if it is longer by at most this share. The minimum may be that of small packets, and large
    /// ones take longer also without a queue. An error of this size does no harm, but a new measurement costs half of the
    /// bandwidth for several round trips.
    private static let tolerance: Int64 = 4

    /// The minimum in nanoseconds; nil before the first measurement.
    private(set) var nanoseconds: Int64?
    private var measuredAt = NIODeadline.uptimeNanoseconds(0)

    /// Whether the minimum was not confirmed for ``lifetime``.
    func isOutdated(at now: NIODeadline) -> Bool {
        self.nanoseconds != nil && self.measuredAt + Self.lifetime <= now
    }

    mutating func add(_ rtt: TimeAmount, at now: NIODeadline) {
        guard let known = self.nanoseconds else {
            self.replace(by: rtt.nanoseconds, at: now)
            return
        }
        if rtt.nanoseconds <= known + known / Self.tolerance {
            self.nanoseconds = min(known, rtt.nanoseconds)
            self.measuredAt = now
        }
    }

    /// Keeps an outdated minimum, because a new one cannot be measured.
    mutating func keep(at now: NIODeadline) { self.measuredAt = now }

    /// Replaces an outdated minimum.
    mutating func replace(by rtt: Int64, at now: NIODeadline) {
        self.nanoseconds = rtt
        self.measuredAt = now
    }
}
