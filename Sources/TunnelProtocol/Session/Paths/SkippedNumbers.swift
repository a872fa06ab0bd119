//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// Decides which packet numbers are left out. A peer that acknowledges what it has not received, to be sent more than its
/// network carries, would acknowledge one of them (RFC 9000, section 21.4).
struct SkippedNumbers: Sendable {
    /// The number of packets between two numbers that are left out is at least this, and less than the other one.
    static let distance: Range<UInt64> = 256..<4_096

    private let secret: Bytes32
    private var count: UInt64 = 0
    /// The last number that was left out; nil if none was.
    private(set) var last: UInt64?
    /// The next number to leave out.
    private(set) var next: UInt64 = 0

    /// - Parameters:
    ///   - secret: 32 random bytes that the peer does not know.
    ///   - first: The first number that may be left out.
    init(secret: Bytes32, from first: UInt64) {
        self.secret = secret
        self.advance(from: first)
    }

    /// Records that ``next`` was left out, and chooses another one.
    mutating func wasSkipped() {
        self.last = self.next
        self.advance(from: self.next)
    }

    private mutating func advance(from number: UInt64) {
        let random = self.secret.derivedInteger(.skippedNumber, self.count)
        self.count += 1
        self.next = number + Self.distance.lowerBound + random % UInt64(Self.distance.count)
    }
}
