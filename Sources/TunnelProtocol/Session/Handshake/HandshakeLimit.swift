//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// How many strangers an exit listens to: a bucket of tokens.
public struct HandshakeLimit: Sendable {
    private let rate: Double
    private let burst: Double
    private var tokens: Double
    private var filledAt: NIODeadline

    /// - Parameters:
    ///   - rate: Handshakes a second; twice as many at once.
    public init(rate: Int, now: NIODeadline) {
        self.rate = Double(max(1, rate))
        self.burst = 2 * self.rate
        self.tokens = self.burst
        self.filledAt = now
    }

    /// Takes a token; false if there is none.
    public mutating func take(at now: NIODeadline) -> Bool {
        let passed = Double(max(0, (now - self.filledAt).nanoseconds)) / 1_000_000_000
        self.filledAt = now
        self.tokens = min(self.burst, self.tokens + passed * self.rate)
        guard self.tokens >= 1 else { return false }
        self.tokens -= 1
        return true
    }
}
