//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The limit of a congestion window after much was lost.
struct LossCeiling: Hashable, Sendable {
    /// The share of a round's bytes that may be lost without a reaction.
    private static let tolerableLoss = 0.2

    /// The limit in bytes. Nil without a limit.
    private(set) var ceiling: Int?
    /// Bytes that arrived and that were lost in the current round trip, and that arrived in the one before.
    private(set) var arrivedBytes = 0
    private var lostBytes = 0
    private var arrivedBefore = 0
    /// The ceiling before the last loss, and when it was lowered.
    private var beforeLoss: (ceiling: Int?, at: NIODeadline)?

    static func == (left: Self, right: Self) -> Bool {
        left.ceiling == right.ceiling && left.arrivedBytes == right.arrivedBytes && left.lostBytes == right.lostBytes
    }

    func hash(into hasher: inout Hasher) { hasher.combine(self.ceiling) }

    mutating func arrived(_ bytes: Int) { self.arrivedBytes += bytes }

    mutating func endRound() {
        self.arrivedBefore = self.arrivedBytes
        self.arrivedBytes = 0
        self.lostBytes = 0
    }

    /// Whether so much was lost that the path is probably full. The round trip may have just begun, so the bytes of the
    /// previous one are used if they are more.
    private var isTooMuch: Bool {
        let arrived = max(self.arrivedBytes, self.arrivedBefore)
        return Double(self.lostBytes) > Self.tolerableLoss * Double(self.lostBytes + arrived)
    }

    /// Raises the ceiling if little was lost in the round trip of a probe. Removes it if it exceeds the window that follows
    /// from the model.
    mutating func probed(target: Int) {
        guard let ceiling, !self.isTooMuch else { return }
        self.ceiling = ceiling > target ? nil : ceiling + ceiling / 4
    }

    /// Records lost packets. If much was lost, lowers the ceiling to `reduced` bytes and returns true, at most once per round
    /// trip.
    ///
    /// - Parameters:
    ///   - bytes: The bytes of the lost packets.
    ///   - sentAt: When the newest of them was sent.
    ///   - packet: The size of a packet in bytes.
    ///   - reduced: The new ceiling in bytes.
    ///   - now: The current time.
    mutating func lost(_ bytes: Int, sentAt: NIODeadline, packet: Int, reduced: Int, at now: NIODeadline) -> Bool {
        self.lostBytes += bytes
        guard self.isTooMuch, self.lostBytes > 2 * packet else { return false }
        if let beforeLoss, sentAt < beforeLoss.at { return false }
        self.beforeLoss = (self.ceiling, now)
        self.ceiling = reduced
        return true
    }

    /// Restores the ceiling, because a packet that was declared lost arrived. Returns whether it had been lowered for that
    /// packet.
    mutating func wasSpurious(sentAt: NIODeadline) -> Bool {
        guard let beforeLoss, sentAt <= beforeLoss.at else { return false }
        self.ceiling = beforeLoss.ceiling
        self.beforeLoss = nil
        return true
    }
}
