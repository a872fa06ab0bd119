//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The time of an input to an engine, from the monotonic clock and from the wall clock.
package struct Moment: Hashable, Sendable {
    /// The monotonic time, used for deadlines and durations.
    package let monotonic: NIODeadline
    /// The wall-clock time in seconds since 1970, used for `created_at`.
    package let seconds: Int64

    /// Creates a moment from readings of both clocks.
    package init(monotonic: NIODeadline, seconds: Int64) {
        self.monotonic = monotonic
        self.seconds = seconds
    }
}
