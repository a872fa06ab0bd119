//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The time of an input to an engine, from the monotonic clock and from the wall clock.
public struct Moment: Hashable, Sendable {
    /// The monotonic time, used for deadlines and durations.
    public let monotonic: NIODeadline
    /// The wall-clock time in seconds since 1970, used for `created_at`.
    public let seconds: Int64

    /// Creates a moment from readings of both clocks.
    public init(monotonic: NIODeadline, seconds: Int64) {
        self.monotonic = monotonic
        self.seconds = seconds
    }
}
