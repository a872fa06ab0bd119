//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The time that a relay reported, and when.
package struct RelayClock: Hashable, Sendable {
    /// Seconds since 1970, according to the relay.
    let reported: Int64
    /// ``BootClock/seconds`` when the report arrived.
    let at: Int64

    /// A report that arrived now.
    init(reported: Int64, at: Int64 = BootClock.seconds) {
        self.reported = reported
        self.at = at
    }

    /// The relay's time in seconds since 1970, when the boot clock shows `now`.
    func time(at now: Int64) -> Int64 { self.reported &+ (now &- self.at) }

    /// The relay's time now, in seconds since 1970.
    package var now: Int64 { self.time(at: BootClock.seconds) }
}
