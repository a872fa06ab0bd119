//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// How many bytes may be under way on a path: a window that follows the path's delay.
///
/// Relays have queues of tens of megabytes, so a window that grows until something is lost would fill them. Instead each
/// round trip's *least* RTT is compared with the least of the last seconds: the difference is what queues hold. The least
/// of a round, because a relay that delivers in batches delays most packets and some hardly. Where that difference is not
/// ours, the round trip does not fall when the window does; then it is the path's own, and the window is restored. Loss is a weak sign here (a
/// relay drops what it likes), so it shrinks the window gently, and not at all when it turns out to be reordering.
struct CongestionController: Hashable, Sendable {
    /// Fewest packets of full size under way.
    static let minimumPackets = 3
    /// Packets under way before anything is known.
    static let initialPackets = 10
    /// How long the least RTT is believed.
    private static let baseLifetime: TimeAmount = .seconds(10)
    /// Below this a round trip is too short, and too much disturbed by busy processors, to learn from its shape.
    private static let longRTT: TimeAmount = .milliseconds(20)
    /// Most delay that queues may add, on a path without any.
    static let leastTarget: TimeAmount = .milliseconds(1)

    private let maximum: Int
    private var packet: Int
    /// The window in bytes.
    private(set) var window: Int
    private var isSlowStart = true

    /// Least RTT of the present and the previous period of ``baseLifetime``.
    private var base: (current: Int64, previous: Int64, since: NIODeadline)?
    /// Least RTT of the present round.
    private var roundLeast = Int64.max
    /// The round ends when a packet is acknowledged that was sent after this.
    private var roundStart = NIODeadline.uptimeNanoseconds(0)
    private var wasLimited = false
    private var roundsOverTarget = 0
    /// The window was shrunk for delay, and the next round tells whether that helped.
    private var trial: (window: Int, isSlowStart: Bool, rtt: Int64)?
    /// Rounds in a row in which the window grew.
    private var growingRounds = 0
    /// Bytes that arrived and that were lost in the present round.
    private var arrivedBytes = 0
    private var lostBytes = 0
    /// Of what a round carries, more than this must be lost to mean anything: relays drop what they like, and say when
    /// they are asked for too much.
    private static let tolerableLoss = 0.1
    /// When the window last shrank for loss, and what it was before.
    private var beforeLoss: (window: Int, isSlowStart: Bool, at: NIODeadline)?

    init(packet: Int, maximum: Int) {
        self.packet = packet
        self.maximum = maximum
        self.window = min(maximum, Self.initialPackets * packet)
    }

    static func == (left: Self, right: Self) -> Bool { left.window == right.window && left.packet == right.packet }

    func hash(into hasher: inout Hasher) { hasher.combine(self.window) }

    private var minimum: Int { Self.minimumPackets * self.packet }

    /// Delay that queues may add: a quarter of the path's own, and at least ``leastTarget``.
    private func target(base: Int64) -> Int64 { max(Self.leastTarget.nanoseconds, base / 4) }

    /// Packets became smaller or larger.
    mutating func setPacket(_ size: Int) { self.packet = size }

    /// A packet went out and filled the window.
    mutating func becameLimited() { self.wasLimited = true }

    /// A packet sent at `sentAt` was acknowledged.
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
            // Once may be chance: a busy processor, a batch.
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
            // Faster the longer there is room: a path with a long round trip has far to go.
            self.growingRounds += 1
            let isFar = self.growingRounds > 3 && base > Self.longRTT.nanoseconds
            self.window += max(self.packet, self.window / (isFar ? 3 : 8))
        } else {
            self.growingRounds = 0
            self.window += self.packet / 2
        }
        self.window = min(self.maximum, self.window)
    }

    /// A queue of ours would have shrunk with the window, and the round trip with it. If it fell by less than half of that,
    /// the delay is the path's own.
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

    /// Bytes arrived.
    mutating func delivered(_ bytes: Int) { self.arrivedBytes += bytes }

    /// Packets were lost; `sentAt` is when the newest of them was sent. The window shrinks once a round trip at most.
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

    /// Nothing was acknowledged through several probes: begin again.
    mutating func pathIsSilent() {
        self.isSlowStart = true
        self.window = max(self.minimum, self.window / 2)
    }

    /// A packet that counted as lost arrived: what its loss took is given back.
    mutating func lossWasSpurious(sentAt: NIODeadline) {
        guard let beforeLoss, sentAt <= beforeLoss.at else { return }
        self.window = min(self.maximum, max(self.window, beforeLoss.window))
        self.isSlowStart = beforeLoss.isSlowStart
        self.beforeLoss = nil
    }
}
