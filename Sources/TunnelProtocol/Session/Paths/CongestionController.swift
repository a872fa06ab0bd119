//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Delay-based congestion control for a path: limits the bytes in flight to a window.
///
/// Relays queue tens of megabytes, so a loss-based window would fill these queues. Instead, the minimum RTT of each
/// round is compared with the minimum RTT of the last 10 to 20 seconds. The difference is the queueing delay. The
/// minimum of a round is used because a relay that delivers in batches delays most packets, but some of them only a
/// little.
///
/// If the RTT does not fall after the window was reduced, the delay is not caused by this session's packets, and the
/// window is restored. Loss is a weak signal, because relays may drop events at any time. It reduces the window only a
/// little, and a spurious loss restores the window.
struct CongestionController: Hashable, Sendable {
    /// The minimum window in packets of full size.
    static let minimumPackets = 3
    /// The initial window in packets of full size.
    static let initialPackets = 10
    /// Length of a period for which the minimum RTT is recorded.
    private static let baseLifetime: TimeAmount = .seconds(10)
    /// RTTs below this value are not used to detect delay of the path itself, because busy processors disturb them too
    /// much.
    private static let longRTT: TimeAmount = .milliseconds(20)
    /// The minimum of the queueing delay that is tolerated.
    static let leastTarget: TimeAmount = .milliseconds(1)

    private let maximum: Int
    private var packet: Int
    /// The window in bytes.
    private(set) var window: Int
    private var isSlowStart = true

    /// The minimum RTT in nanoseconds of the current and of the previous period of ``baseLifetime``.
    private var base: (current: Int64, previous: Int64, since: NIODeadline)?
    /// The minimum RTT of the current round in nanoseconds.
    private var roundLeast = Int64.max
    /// When the current round started. It ends when a packet that was sent at this time or later is acknowledged.
    private var roundStart = NIODeadline.uptimeNanoseconds(0)
    private var wasLimited = false
    private var roundsOverTarget = 0
    /// The state before the window was reduced because of delay. The next round shows whether the RTT fell.
    private var trial: (window: Int, isSlowStart: Bool, rtt: Int64)?
    /// Number of consecutive rounds with little queueing delay in which the window grew.
    private var growingRounds = 0
    /// Bytes that were acknowledged and bytes that were lost in the current round.
    private var arrivedBytes = 0
    private var lostBytes = 0
    /// The share of a round's bytes that may be lost without a reaction. Relays may drop events at any time, and they
    /// report rate limits explicitly.
    private static let tolerableLoss = 0.1
    /// The state before the window was last reduced because of loss, and the time of the reduction.
    private var beforeLoss: (window: Int, isSlowStart: Bool, at: NIODeadline)?

    init(packet: Int, maximum: Int) {
        self.packet = packet
        self.maximum = maximum
        self.window = min(maximum, Self.initialPackets * packet)
    }

    static func == (left: Self, right: Self) -> Bool { left.window == right.window && left.packet == right.packet }

    func hash(into hasher: inout Hasher) { hasher.combine(self.window) }

    private var minimum: Int { Self.minimumPackets * self.packet }

    /// The queueing delay that is tolerated: a quarter of the minimum RTT, and at least ``leastTarget``.
    private func target(base: Int64) -> Int64 { max(Self.leastTarget.nanoseconds, base / 4) }

    /// Updates the packet size in bytes.
    mutating func setPacket(_ size: Int) { self.packet = size }

    /// Records that a packet filled the window.
    mutating func becameLimited() { self.wasLimited = true }

    /// Updates the RTT and the window after a packet was acknowledged.
    mutating func acknowledged(sentAt: NIODeadline, rtt: TimeAmount, at now: NIODeadline) {
        self.roundLeast = min(self.roundLeast, rtt.nanoseconds)
        self.updateBase(rtt.nanoseconds, at: now)
        guard sentAt >= self.roundStart else { return }
        self.endRound(at: now)
    }

    private mutating func updateBase(_ rtt: Int64, at now: NIODeadline) {
        guard let known = self.base else {
            self.base = (rtt, rtt, now)
            return
        }
        if known.since + Self.baseLifetime <= now {
            self.base = (rtt, known.current, now)
        } else {
            self.base?.current = min(known.current, rtt)
        }
    }

    private mutating func endRound(at now: NIODeadline) {
        defer {
            self.roundLeast = .max
            self.roundStart = now
            self.wasLimited = false
            self.arrivedBytes = 0
            self.lostBytes = 0
        }
        self.judgeTrial(at: now)
        guard let known = self.base, self.roundLeast < .max else { return }
        let base = min(known.current, known.previous)
        let target = self.target(base: base)
        let queued = self.roundLeast - base
        if queued > target {
            self.growingRounds = 0
            self.roundsOverTarget += 1
            // A single round over the target may have another cause, such as a busy processor.
            guard self.roundsOverTarget > 1 else { return }
            self.roundsOverTarget = 0
            if self.roundLeast > Self.longRTT.nanoseconds {
                self.trial = (self.window, self.isSlowStart, self.roundLeast)
            }
            self.isSlowStart = false
            let wanted = Double(self.window) * Double(base + target) / Double(self.roundLeast)
            self.window = max(self.minimum, Int(max(wanted, Double(self.window) * 0.7)))
            return
        }
        self.roundsOverTarget = 0
        guard self.wasLimited else { return }
        if self.isSlowStart {
            self.window *= 2
        } else if queued < target / 2 {
            // Grow faster after several rounds with spare capacity, because a long RTT makes rounds rare.
            self.growingRounds += 1
            let isFar = self.growingRounds > 3 && base > Self.longRTT.nanoseconds
            self.window += max(self.packet, self.window / (isFar ? 3 : 8))
        } else {
            self.growingRounds = 0
            self.window += self.packet / 2
        }
        self.window = min(self.maximum, self.window)
    }

    /// Evaluates whether the RTT fell after the window was reduced.
    ///
    /// If this session's packets had caused the delay, the RTT would have fallen in proportion to the window. If it
    /// fell by less than half of that, the delay belongs to the path, and the window is restored.
    private mutating func judgeTrial(at now: NIODeadline) {
        guard let trial, self.roundLeast < .max else { return }
        self.trial = nil
        let expected = Double(trial.rtt) * Double(self.window) / Double(trial.window)
        guard Double(self.roundLeast) > (Double(trial.rtt) + expected) / 2 else { return }
        let own = min(trial.rtt, self.roundLeast)
        self.base = (own, own, now)
        self.window = max(self.window, trial.window)
        self.isSlowStart = trial.isSlowStart
    }

    /// Records acknowledged bytes.
    mutating func delivered(_ bytes: Int) { self.arrivedBytes += bytes }

    /// Records lost packets and reduces the window at most once per round trip.
    ///
    /// - Parameters:
    ///   - bytes: The bytes of the lost packets.
    ///   - sentAt: When the newest of them was sent.
    ///   - now: The current time.
    mutating func lost(_ bytes: Int, sentAt: NIODeadline, at now: NIODeadline) {
        self.lostBytes += bytes
        guard Double(self.lostBytes) > Self.tolerableLoss * Double(self.lostBytes + self.arrivedBytes),
            self.lostBytes > 2 * self.packet
        else { return }
        if let beforeLoss, sentAt < beforeLoss.at { return }
        self.beforeLoss = (self.window, self.isSlowStart, now)
        self.isSlowStart = false
        self.window = max(self.minimum, self.window * 4 / 5)
    }

    /// Halves the window and returns to slow start, because several probes were not acknowledged.
    mutating func pathIsSilent() {
        self.isSlowStart = true
        self.window = max(self.minimum, self.window / 2)
    }

    /// Restores the window that was reduced for a loss, because a packet that was declared lost arrived.
    mutating func lossWasSpurious(sentAt: NIODeadline) {
        guard let beforeLoss, sentAt <= beforeLoss.at else { return }
        self.window = min(self.maximum, max(self.window, beforeLoss.window))
        self.isSlowStart = beforeLoss.isSlowStart
        self.beforeLoss = nil
    }
}
