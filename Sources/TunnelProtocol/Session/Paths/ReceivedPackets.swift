//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The packets that came on a path, and when that has to be said (RFC 9000, section 13.2).
struct ReceivedPackets: Sendable {
    private var numbers = IntervalSet()
    /// Numbers below it are taken for repeated.
    private var floor: UInt64 = 0
    private var largestArrival = NIODeadline.uptimeNanoseconds(0)
    /// Ack-eliciting packets since the last acknowledgement.
    private(set) var unacknowledged = 0
    /// When an acknowledgement is due; nil while there is nothing to say.
    private(set) var deadline: NIODeadline?
    /// Whether it must go out on this very path: the peer measures it.
    private(set) var mustAnswerHere = false

    /// Whether a packet was here before, or may have been.
    func isRepeated(_ number: UInt64) -> Bool {
        number < self.floor || self.numbers.contains(number)
    }

    /// Takes the number of a packet that was opened.
    mutating func insert(_ number: UInt64, at now: NIODeadline) {
        if number >= self.numbers.largest ?? 0 { self.largestArrival = now }
        _ = self.numbers.insert(number)
        if let dropped = self.numbers.dropLowest(keeping: SessionConfiguration.receivedRuns) {
            self.floor = max(self.floor, dropped + 1)
        }
    }

    /// The packet wants to be acknowledged within `delay`, or at once.
    mutating func wantAcknowledgement(within delay: TimeAmount, threshold: Int, here: Bool, at now: NIODeadline) {
        self.unacknowledged += 1
        if here { self.mustAnswerHere = true }
        let due = here || self.unacknowledged >= threshold ? now : now + delay
        self.deadline = min(self.deadline ?? due, due)
    }

    /// Makes the acknowledgement due now.
    mutating func hurry(at now: NIODeadline) {
        if self.deadline != nil { self.deadline = now }
    }

    /// The frame that says what came, of the newest ranges that fit into so many bytes; nil if nothing came or fits.
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

    /// The frame went out.
    mutating func acknowledgementWasSent() {
        self.unacknowledged = 0
        self.deadline = nil
        self.mustAnswerHere = false
    }
}
