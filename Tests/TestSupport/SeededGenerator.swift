//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A random number generator (SplitMix64) with a fixed seed, so that a failing run can be repeated.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    /// Creates a generator. The same seed gives the same sequence.
    public init(seed: UInt64) { self.state = seed }

    /// Returns the next number of the sequence.
    public mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
