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
    /// Nanoseconds since an arbitrary point, for rates.
    var monotonicNanoseconds: @Sendable () -> Int64

    static let system = RelayClock(
        secondsSince1970: { Int64(Date().timeIntervalSince1970) },
        monotonicNanoseconds: { Int64(NIODeadline.now().uptimeNanoseconds) }
    )
}
