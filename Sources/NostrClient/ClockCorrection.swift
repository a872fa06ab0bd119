//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// How far this machine's clock is from the relays' clocks.
///
/// Outgoing events are dated by the median of the relays' clocks, so that relays and peers accept them although the clock
/// of this machine is wrong. What this machine accepts never depends on it.
enum ClockCorrection {
    /// Smaller differences are not corrected, in seconds.
    static let tolerance: Int64 = 10
    /// Larger differences are not corrected, in seconds. A wrong year is not a clock that is a little off.
    static let most: Int64 = 86_400

    /// The seconds to add to the local time; 0 if it is right, or if too much is wrong.
    ///
    /// - Parameter offsets: Seconds by which the clock of each relay is ahead of this machine's.
    static func seconds(_ offsets: [Int64]) -> Int64 {
        guard !offsets.isEmpty else { return 0 }
        let sorted = offsets.sorted()
        let (lower, upper) = (sorted[(sorted.count - 1) / 2], sorted[sorted.count / 2])
        // Of two relays that disagree, the one that agrees more with this machine.
        let median = abs(lower) < abs(upper) ? lower : upper
        return (Self.tolerance...Self.most).contains(abs(median)) ? median : 0
    }
}

extension RelayConnection {
    /// The seconds to add to the local time for the date of an event to this relay; 0 if it is right.
    package var clockCorrection: Int64 { ClockCorrection.seconds(self.clockOffset.map { [$0] } ?? []) }

    /// The date of an event to these relays, in seconds since 1970, by the median of their clocks.
    package static func date(for relays: some Sequence<RelayConnection>) -> Int64 {
        UnixTime.now + Self.clockCorrection(of: relays)
    }

    /// The seconds to add to the local time for the date of an event to several relays: by the median of their clocks.
    package static func clockCorrection(of relays: some Sequence<RelayConnection>) -> Int64 {
        ClockCorrection.seconds(relays.compactMap(\.clockOffset))
    }
}
