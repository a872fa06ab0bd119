//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Median, minimum and maximum of several readings of one figure.
struct Distribution: Encodable {
    let median: Double
    let least: Double
    let most: Double
    let count: Int

    init(_ values: [Double]) {
        let sorted = values.sorted()
        self.median = sorted.isEmpty ? 0 : sorted[sorted.count / 2]
        self.least = sorted.first ?? 0
        self.most = sorted.last ?? 0
        self.count = sorted.count
    }

    /// Returns a percentile of `values`, or 0 if there are none.
    static func percentile(_ percent: Int, of values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, sorted.count * percent / 100)]
    }
}
