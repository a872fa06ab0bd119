//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Who resets a stream.
enum StreamResetter: Hashable, Sendable {
    /// The driver, which need not be told.
    case driver
    /// The session itself.
    case session
    /// The peer, which need not be told to stop sending.
    case peer
}
