//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// What waits to be sent, for the choice of a path.
struct SendDemand: Hashable, Sendable {
    /// Number of stream bytes that wait.
    var bytes: Int
    /// Number of new bytes that the peer's flow control allows.
    var room: Int
}
