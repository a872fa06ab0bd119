//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// What a ``CongestionController`` is doing, and its gains (draft-ietf-ccwg-bbr, sections 2.4 and 5.3).
enum CongestionPhase: Hashable, Sendable {
    /// The rate doubles each round trip, until the bandwidth no longer grows. The first time over a relay, it grows fourfold.
    case startup
    /// The queue that arose in the startup is emptied.
    case drain
    /// The path is tried at a higher rate, for a round trip.
    case probeUp
    /// The queue that arose is emptied.
    case probeDown
    /// Packets are sent at the bandwidth. The value is the number of round trips that are left.
    case cruise(rounds: Int)
    /// Little is in flight until this time, so that the round-trip time without a queue can be measured. Nil until
    /// the surplus has left.
    case probeRTT(until: NIODeadline?)

    /// The rate at which packets are sent, as a multiple of the bandwidth.
    var pacingGain: Double {
        switch self {
        case .startup: 2.77
        case .drain: 0.5
        case .probeUp: 1.25
        case .probeDown: 0.75
        case .cruise, .probeRTT: 0.99
        }
    }

    /// The bytes in flight, as a multiple of what the path holds without a queue.
    var windowGain: Double { self == .startup ? self.pacingGain : 2 }
}
