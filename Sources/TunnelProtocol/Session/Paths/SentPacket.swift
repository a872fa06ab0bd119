//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A packet that was sent, with the frames to send again if it is lost.
struct SentPacket: Sendable {
    enum State: Hashable, Sendable {
        case inFlight
        case acknowledged
        /// The packet was declared lost. It is kept for some time, because it may still arrive.
        case lost(at: NIODeadline)
    }

    let number: UInt64
    let sentAt: NIODeadline
    /// The plaintext length in bytes.
    let size: Int
    let isAckEliciting: Bool
    /// What was known about the delivery rate when the packet was sent. Nil for a packet that elicits no acknowledgement.
    let rate: DeliveryRate.Snapshot?
    /// The frames to handle if the packet is acknowledged or lost. Their data is shared with the stream's buffers.
    var frames: [SessionFrame]
    var state = State.inFlight
    /// Whether the packet was declared lost by the time threshold, and not because its path was removed or a relay
    /// rejected it.
    var wasLostByTime = false
    /// Whether nothing was sent with this number (``SkippedNumbers``).
    var wasSkipped = false
    /// Whether its frames were sent again before the packet was acknowledged or lost.
    var wasReinjected = false

    /// Whether it has frames other than PING.
    var hasContent: Bool { self.frames.contains { $0 != .ping } }

    /// Whether the packet counts against the congestion window.
    var isInFlight: Bool { self.state == .inFlight && self.isAckEliciting }
}
