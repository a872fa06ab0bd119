//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The clocks that a relay uses.
struct RelayClock: Sendable {
    /// The wall-clock time in seconds since 1970, for comparison with `created_at` and expiration.
    var secondsSince1970: @Sendable () -> Int64
    /// The monotonic time, for rate limits.
    var monotonic: @Sendable () -> NIODeadline

    static let system = RelayClock(
        secondsSince1970: { Int64(Date().timeIntervalSince1970) },
        monotonic: { .now() }
    )
}
