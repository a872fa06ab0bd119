//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The delivery rates of a round trip, and their mean.
struct RoundSamples: Hashable, Sendable {
    private struct Sum: Hashable {
        var rates = 0.0
        var count = 0
        var mean: Double? { self.count > 0 ? self.rates / Double(self.count) : nil }

        mutating func add(_ rate: Double) {
            self.rates += rate
            self.count += 1
        }
    }

    private var full = Sum()
    private var appLimited = Sum()

    mutating func add(_ sample: DeliveryRate.Sample) {
        if sample.isAppLimited { self.appLimited.add(sample.rate) } else { self.full.add(sample.rate) }
    }

    /// Returns the mean of the samples that were not limited by the application, or, if there are none, of the others. Nil
    /// if there are no samples. Then starts a new round.
    mutating func take() -> (rate: Double, isAppLimited: Bool)? {
        defer { self = RoundSamples() }
        if let mean = self.full.mean { return (mean, false) }
        return self.appLimited.mean.map { ($0, true) }
    }
}
