//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The result of processing an ACK frame.
struct SessionPathAcknowledgement: Sendable {
    /// The frames of newly acknowledged packets.
    var frames: [SessionFrame] = []
    /// Whether any packet was newly acknowledged.
    var isNew = false
    /// Whether a packet of the current connection was newly acknowledged.
    var isCurrent = false
    /// The size of the newly acknowledged packets in bytes.
    var bytes = 0
}
