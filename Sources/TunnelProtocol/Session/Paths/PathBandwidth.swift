//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The bandwidth of a path: the maximum of the rates at which it delivered in recent round trips.
struct PathBandwidth: Sendable {
    /// Number of round trips for which a maximum is kept, at least.
    private static let filterRounds = 6

    private var maximum = RecentMaximum()
    /// The delivery rates of the current round trip. A single one is not exact, because packets are large and acknowledged in
    /// groups.
    private var samples = RoundSamples()
    private var aggregation = AckAggregation()
    /// The current round trip ends when a packet is acknowledged that was sent after this many bytes were delivered.
    private var roundEnd: UInt64 = 0
    private var rounds = 0

    /// Bytes per second; 0 before the first measurement.
    var value: Double { self.maximum.value }

    /// How many bytes were recently acknowledged in excess of the bandwidth, because acknowledgements arrive together.
    var excess: Double { self.aggregation.excess }

    /// Records that `bytes` bytes were acknowledged while the window was `window` bytes.
    mutating func acknowledged(_ bytes: Int, window: Int, at now: NIODeadline) {
        self.aggregation.add(bytes, bandwidth: self.value, window: window, at: now)
    }

    /// Adds a delivery rate. Returns whether a round trip has ended.
    ///
    /// - Parameters:
    ///   - sample: The rate.
    ///   - isGrowing: Whether the bandwidth may grow within a round trip.
    ///   - delivered: The bytes that were delivered on this path altogether.
    mutating func add(_ sample: DeliveryRate.Sample, isGrowing: Bool, delivered: UInt64) -> Bool {
        self.samples.add(sample)
        if isGrowing, !sample.isAppLimited || sample.rate > self.value { self.maximum.add(sample.rate) }
        guard sample.deliveredBefore >= self.roundEnd else { return false }
        self.roundEnd = delivered
        return true
    }

    /// Ends a round trip. Returns its rate if that was not limited by the application.
    mutating func endRound(isAppLimited: Bool) -> Double? {
        let measured = self.samples.take()
        if let measured, !measured.isAppLimited || measured.rate > self.value { self.maximum.add(measured.rate) }
        // While little is sent, the bandwidth is not measured, so it is not forgotten either.
        if !isAppLimited {
            self.rounds += 1
            if self.rounds % Self.filterRounds == 0 {
                self.maximum.startPeriod()
                self.aggregation.startPeriod()
            }
        }
        return measured.flatMap { $0.isAppLimited ? nil : $0.rate }
    }

    /// Forgets all earlier rates.
    mutating func reset(to rate: Double) { self.maximum.reset(to: rate) }
}
