//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What waits to be sent, for the choice of a path.
struct SendDemand: Hashable, Sendable {
    /// Number of bytes that are assumed to wait when at least half of a send buffer does
    /// (``SessionConfiguration/sendBuffer``).
    static let bulk = 2 << 20

    /// Number of stream bytes that wait, or that are expected.
    var bytes: Int
    /// Number of new bytes that the peer's flow control allows the next stream.
    var room: Int
}
