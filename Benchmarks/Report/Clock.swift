//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation

/// Returns the time of the monotonic clock, in seconds.
func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Measures the duration of one call of `body`, in microseconds.
///
/// - Returns: One value per reading. It is the mean of the calls that were made in about 40 ms.
func microseconds(readings: Int = 7, _ body: () throws -> Void) rethrows -> [Double] {
    var calls = 1
    // Determine the number of calls per reading. This also warms up the caches.
    while true {
        let start = seconds()
        for _ in 0..<calls { try body() }
        let took = seconds() - start
        if took > 0.02 {
            calls = max(1, Int(Double(calls) * 0.04 / took))
            break
        }
        calls *= 2
    }
    var values: [Double] = []
    for _ in 0..<readings {
        let start = seconds()
        for _ in 0..<calls { try body() }
        values.append((seconds() - start) / Double(calls) * 1e6)
    }
    return values
}

/// Prevents the optimizer from removing the computation of `value`.
@inline(never)
func keep<Value>(_ value: Value) {}
