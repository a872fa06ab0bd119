//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The time that a relay reported, and when.
package struct RelayClock: Hashable, Sendable {
    /// Seconds since 1970, according to the relay.
    let reported: Int64
    let at: NIODeadline

    /// The relay's time, in seconds since 1970.
    package func time(at now: NIODeadline) -> Int64 {
        self.reported + (now - self.at).nanoseconds / 1_000_000_000
    }
}
