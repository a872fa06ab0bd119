//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The packets received on a path, and when they must be acknowledged (RFC 9000, section 13.2).
struct ReceivedPackets: Sendable {
    private var numbers = IntervalSet()
    /// How far below the largest number a run of numbers is forgotten. A sender keeps as many packets.
    private static let remembered = UInt64(SentPackets.limit)
    /// Packet numbers below this value are treated as repeated.
    private var floor: UInt64 = 0
    private var largestArrival = NIODeadline.uptimeNanoseconds(0)
    /// Ack-eliciting packets since the last acknowledgement.
    private(set) var unacknowledged = 0
    /// When an acknowledgement is due. Nil if none is.
    private(set) var deadline: NIODeadline?
    /// Whether the acknowledgement must be sent on this path, because the peer measures the path.
    private(set) var mustAnswerHere = false

    /// Whether a packet with this number was received before, or may have been.
    func isRepeated(_ number: UInt64) -> Bool {
        number < self.floor || self.numbers.contains(number)
    }

    /// Records the number of a packet that was decrypted.
    mutating func insert(_ number: UInt64, at now: NIODeadline) {
        if number >= self.numbers.largest ?? 0 { self.largestArrival = now }
        _ = self.numbers.insert(number)
        if let dropped = self.numbers.dropLowest(keeping: SessionConfiguration.receivedRuns) {
            self.floor = max(self.floor, dropped + 1)
        }
        // The peer skips numbers, and each is a gap. It has forgotten old packets, so it needs no acknowledgement of them.
        if let largest = self.numbers.largest, let oldest = self.numbers.intervals.first,
            largest - oldest.upperBound > Self.remembered
        {
            let count = self.numbers.intervals.count - 1
            if let dropped = self.numbers.dropLowest(keeping: count) { self.floor = max(self.floor, dropped + 1) }
        }
    }

    /// Schedules an acknowledgement for an ack-eliciting packet.
    ///
    /// - Parameters:
    ///   - delay: Maximum delay of the acknowledgement.
    ///   - threshold: Number of unacknowledged packets from which the acknowledgement is due at once.
    ///   - here: Whether the acknowledgement is due at once and on this path.
    ///   - now: The current time.
    mutating func wantAcknowledgement(within delay: TimeAmount, threshold: Int, here: Bool, at now: NIODeadline) {
        self.unacknowledged += 1
        if here { self.mustAnswerHere = true }
        let due = here || self.unacknowledged >= threshold ? now : now + delay
        self.deadline = min(self.deadline ?? due, due)
    }

    /// Makes a scheduled acknowledgement due now.
    mutating func hurry(at now: NIODeadline) {
        if self.deadline != nil { self.deadline = now }
    }

    /// Creates an ACK frame of at most `bytes` bytes with the highest ranges. Returns nil if no packet was received or
    /// no range fits.
    func acknowledgement(of path: PathID, fitting bytes: Int, at now: NIODeadline) -> SessionFrame.Acknowledgement? {
        let most = min(
            SessionFrame.Acknowledgement.maximumRanges,
            (bytes - SessionFrame.Acknowledgement.headLength) / SessionFrame.Acknowledgement.rangeLength
        )
        guard most > 0 else { return nil }
        let newest = self.numbers.intervals.suffix(most).reversed()
        guard !newest.isEmpty else { return nil }
        let waited = max(0, (now - self.largestArrival).nanoseconds) / 1_000
        return SessionFrame.Acknowledgement(path: path, delay: UInt64(waited), ranges: Array(newest))
    }

    /// Records that the ACK frame was sent.
    mutating func acknowledgementWasSent() {
        self.unacknowledged = 0
        self.deadline = nil
        self.mustAnswerHere = false
    }
}
