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

/// The relay's two clocks, replaceable in tests.
struct RelayClock: Sendable {
    /// Seconds since 1970, as events are dated.
    var secondsSince1970: @Sendable () -> Int64
    /// For rates.
    var monotonic: @Sendable () -> NIODeadline

    static let system = RelayClock(
        secondsSince1970: { Int64(Date().timeIntervalSince1970) },
        monotonic: { .now() }
    )
}
