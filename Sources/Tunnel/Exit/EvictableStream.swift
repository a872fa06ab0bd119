//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A stream that may have to go so that another fits.
protocol EvictableStream: AnyObject {
    var startedAt: NIODeadline { get }
    /// Whether the peer has sent nothing so far.
    var isSilent: Bool { get }
    /// Ends it to make room.
    func evict()
}
