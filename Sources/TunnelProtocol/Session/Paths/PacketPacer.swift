//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Spreads the packets of a path over time, so that they do not arrive at the bottleneck in bursts (RFC 9002, section
/// 7.7).
struct PacketPacer: Hashable, Sendable {
    /// How much earlier than at its pacing time a packet may be sent. It limits a burst to what the path carries in this
    /// time, and one packet.
    static let burst: TimeAmount = .milliseconds(1)
    /// Pacing time that is not lost when packets are sent late, or half of the packet's own pacing time if that is more.
    /// Without it, late timers would lower the rate, and then the measured bandwidth.
    static let catchUp: TimeAmount = .milliseconds(3)

    /// When the next packet is due.
    private var next = NIODeadline.uptimeNanoseconds(0)

    /// When the next packet may be sent. Nil if it may be sent now.
    func wait(at now: NIODeadline) -> NIODeadline? {
        let earliest = self.next - Self.burst
        return earliest > now ? earliest : nil
    }

    /// How long after `now` the next packet is due.
    func delay(at now: NIODeadline) -> TimeAmount { max(.zero, self.next - now) }

    /// Records a packet that was sent. `rate` is in bytes per second; nil if there is no limit.
    mutating func sent(_ bytes: Int, rate: Double?, at now: NIODeadline) {
        guard let rate, rate > 0 else { return }
        let time = TimeAmount.nanoseconds(Int64(min(Double(bytes) * 1e9 / rate, 1e9)))
        self.next = max(self.next, now - max(Self.catchUp, .nanoseconds(time.nanoseconds / 2))) + time
    }
}
