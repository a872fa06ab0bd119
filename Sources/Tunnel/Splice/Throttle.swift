//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Limits the bytes per second of one or more streams. After each transfer, the caller waits for the returned time.
final class Throttle {
    private let bytesPerSecond: Double
    private var paidUntil: NIODeadline

    /// Maximum burst, as the time that it takes at the limited rate.
    private static let burst: TimeAmount = .milliseconds(200)

    init(bytesPerSecond: Int) {
        self.bytesPerSecond = Double(max(1, bytesPerSecond))
        self.paidUntil = .now()
    }

    /// Counts transferred bytes. Returns how long to wait before the next transfer.
    func take(_ bytes: Int, at now: NIODeadline = .now()) -> TimeAmount {
        let cost = TimeAmount.nanoseconds(Int64(Double(bytes) / self.bytesPerSecond * 1_000_000_000))
        self.paidUntil = max(self.paidUntil, now - Self.burst) + cost
        return max(.zero, self.paidUntil - now)
    }
}
