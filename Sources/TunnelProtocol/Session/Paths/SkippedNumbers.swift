//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// Chooses the packet numbers to skip. A peer that acknowledges packets it has not received, to make the sender exceed the capacity
/// of the path, will also acknowledge a skipped number (RFC 9000, section 21.4).
struct SkippedNumbers: Sendable {
    /// The distance between two skipped numbers is chosen at random from this range.
    static let distance: Range<UInt64> = 256..<4_096

    private let secret: Bytes32
    private var count: UInt64 = 0
    /// The last number that was skipped; nil if none was.
    private(set) var last: UInt64?
    /// The next number to skip.
    private(set) var next: UInt64 = 0

    /// - Parameters:
    ///   - secret: 32 random bytes that the peer does not know.
    ///   - first: The number from which the first distance is counted.
    init(secret: Bytes32, from first: UInt64) {
        self.secret = secret
        self.advance(from: first)
    }

    /// Records that ``next`` was skipped, and chooses another one.
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
