//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A packet that went out, and what has to be done again if it does not arrive.
struct SentPacket: Sendable {
    enum State: Hashable, Sendable {
        case inFlight
        case acknowledged
        /// Counts as lost; kept for a while, because it may arrive after all.
        case lost(at: NIODeadline)
    }

    let number: UInt64
    let sentAt: NIODeadline
    /// Bytes of plaintext.
    let size: Int
    let isAckEliciting: Bool
    /// Frames that matter when the packet is lost. Bytes are shared with the stream's buffers, not copied.
    var frames: [SessionFrame]
    var state = State.inFlight
    /// It was given up because it was late, not because its path went.
    var wasLostByTime = false
}
