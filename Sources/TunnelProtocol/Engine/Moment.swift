//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// A reading of the monotonic clock and of the wall clock.
public struct Moment: Hashable, Sendable {
    /// For durations.
    public let monotonic: NIODeadline
    /// Seconds since 1970, for `created_at`.
    public let seconds: Int64

    public init(monotonic: NIODeadline, seconds: Int64) {
        self.monotonic = monotonic
        self.seconds = seconds
    }
}
