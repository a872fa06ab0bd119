//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The newest packet numbers that were received, so that a datagram which somebody sends again is recognized.
struct ReceivedNumbers: Sendable {
    /// Number of packet numbers below the largest one that are remembered. Lower ones count as received.
    static let window: UInt64 = 64

    private var largest: UInt64?
    /// Bit `n` stands for the number `largest - n`.
    private var bits: UInt64 = 0

    /// Records a number. Returns false if it was received before, or is too old to tell.
    mutating func insert(_ number: UInt64) -> Bool {
        guard let largest else {
            self.largest = number
            self.bits = 1
            return true
        }
        if number > largest {
            let distance = number - largest
            self.bits = distance < Self.window ? self.bits << distance | 1 : 1
            self.largest = number
            return true
        }
        let age = largest - number
        guard age < Self.window, self.bits >> age & 1 == 0 else { return false }
        self.bits |= 1 << age
        return true
    }
}
