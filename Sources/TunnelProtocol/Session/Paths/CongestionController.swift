//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Congestion control of a path by a model of its bandwidth and round-trip time (BBR, draft-ietf-ccwg-bbr).
///
/// The bandwidth is the maximum of the recent delivery rates, the round-trip time the recent minimum. Their product is
/// what the path holds without a queue. Packets are sent at the bandwidth, and the window is about twice the product.
/// Every few round trips the path is tried at a higher rate; the queue that arises is emptied in the next round trip.
///
/// A relay queues many megabytes without loss, and it drops events for other reasons than congestion. So loss reduces
/// the window only if much is lost.
struct CongestionController: Hashable, Sendable {
    /// Minimum window in packets.
    static let minimumPackets = 4
    /// Initial window in bytes and in packets.
    static let initialWindow = 256 << 10
    private static let initialPackets = 32
    /// Initial window of a path of datagrams in bytes.
    private static let initialDatagrams = 128 << 10
    /// The least that it is reduced to, in bytes.
    private static let leastInitial = 4 << 10

    /// An RTT in nanoseconds below which most of it is processor time of the nodes and the relay. Bytes in flight above the
    /// product would only wait for a processor then, so they are reduced in proportion to the RTT.
    private static let processorRTT = 4_000_000.0
    /// Number of round trips between two probes for more bandwidth.
    private static let cruiseRounds = 6
    /// How long acknowledgements wait at the peer, in seconds.
    private static let acknowledgementTime = 0.02
    /// Maximum number of round trips for emptying a queue.
    private static let drainRounds = 8
    /// Growth of the bandwidth that counts as growth: in the startup, and after a probe, whose round trip ends at a rate that
    /// is higher by a quarter.
    private static let startupGrowth = 1.25
    private static let probeGrowth = 1.08
    /// If less than this share of the bandwidth is delivered in spite of a long queue, the bandwidth has become lower.
    private static let collapse = 0.7
    /// The number of such round trips after which it is measured anew.
    private static let collapsedRounds = 2
    /// How long little is in flight to measure the round-trip time.
    private static let probeRTTDuration: TimeAmount = .milliseconds(100)
    /// How long the surplus may take to leave before that.
    private static let longestDraining: TimeAmount = .seconds(1)

    private let maximum: Int
    /// The window of a path about which nothing is known. It is reduced if the path turns out to be too slow for it.
    private var largestInitial = Self.initialWindow
    private var initial: Int {
        let limit = self.packet > Self.datagram ? Self.initialPackets * self.packet : Self.initialDatagrams
        return min(self.largestInitial, limit)
    }
    /// Whether the first startup is not over.
    private var isFirstStartup = true
    /// The packet size in bytes.
    private var packet = SessionConfiguration.basePacket
    /// The limit of the bytes in flight.
    private(set) var window: Int
    private var phase = CongestionPhase.startup
    private var bandwidth = PathBandwidth()
    private var roundTrips = RoundTrips()
    var minimumRTT: MinimumRTT { self.roundTrips.minimum }
    private var losses = LossCeiling()

    /// The bandwidth from which growth is judged, and the number of round trips without growth.
    private var plateau: (bandwidth: Double, rounds: Int) = (0, 0)
    /// Number of round trips in a row that delivered much less than the bandwidth in spite of a queue.
    private var collapsed = 0
    /// When the current phase started.
    private var phaseStart = NIODeadline.uptimeNanoseconds(0)

    /// - Parameter maximum: The maximum window in bytes.
    init(maximum: Int) {
        self.maximum = maximum
        self.window = min(maximum, Self.initialWindow)
    }

    static func == (left: Self, right: Self) -> Bool { left.window == right.window && left.phase == right.phase }

    func hash(into hasher: inout Hasher) { hasher.combine(self.window) }

    // MARK: Model

    /// What the path is known to carry, in bytes per second; nil before the first measurement.
    var rate: Double? { self.bandwidth.value > 0 ? self.bandwidth.value : nil }

    /// What the path is expected to carry, in bytes per second. It is an estimate before the first measurement.
    func expectedRate(rtt: TimeAmount) -> Double {
        let initial = Double(self.initial) * 1e9 / Double(max(1_000_000, rtt.nanoseconds))
        guard case .startup = self.phase else { return self.rate ?? initial }
        return self.initialFloor > 0 ? max(self.bandwidth.value, initial) : 2 * self.bandwidth.value
    }

    /// The rate at which packets are sent, in bytes per second; nil to send without pacing.
    var pacingRate: Double? {
        guard var rate, let rtt = self.minimumRTT.nanoseconds else { return nil }
        if case .startup = self.phase {
            // The first samples may be of small packets, so the rate does not fall below that of the initial window.
            rate = max(rate, Double(self.initialFloor) * 1e9 / Double(max(1_000_000, rtt)))
        }
        return (self.growsFast ? Self.fastGain : self.phase.pacingGain) * rate
    }

    /// Whether the window grows fourfold per round trip instead of doubling: in the first startup of a path over a relay, until a queue
    /// builds up or the bandwidth stops growing. The TCP connections below protect the network, and have shorter round trips.
    private var growsFast: Bool {
        self.isFirstStartup && self.phase == .startup && self.plateau.rounds == 0 && self.packet > Self.datagram
            && !self.hasQueue
    }

    /// Whether the path was full for a round trip, so that its bandwidth is known.
    var isMeasured: Bool { self.plateau.bandwidth > 0 }

    /// The initial window, until the path was full for a round trip.
    private var initialFloor: Int { self.isMeasured ? 0 : self.initial }

    /// The bytes that the path holds without a queue.
    private var product: Double {
        guard let rtt = self.minimumRTT.nanoseconds else { return Double(self.initial) }
        return self.bandwidth.value * Double(rtt) / 1e9
    }

    /// The seconds of a burst of events, and its maximum number of bytes.
    private static let burstTime = 0.003
    private static let largestBurst = 512 << 10

    private var minimum: Int { Self.minimumPackets * self.packet }

    /// The window that follows from the model.
    private var target: Int {
        if case .probeRTT = self.phase { return max(self.minimum, Int(self.product / 2)) }
        let gain = self.growsFast ? Self.fastGain : self.phase.windowGain
        let excess = (gain - 1) * self.product + min(self.bandwidth.excess, self.product)
        let share = min(1, Double(self.minimumRTT.nanoseconds ?? .max) / Self.processorRTT)
        return max(self.minimum, Int(self.product + share * excess) + self.burst)
    }

    /// The bytes that are in flight because packets are sent and acknowledged several at once. Datagrams are small, and as many
    /// as the path carries in some milliseconds are handled together (BBR's send quantum). On a fast path, each acknowledgement is
    /// for some milliseconds, too, because it costs the relay as much as a packet.
    private var burst: Int {
        guard self.packet <= Self.datagram else {
            guard self.isMeasured else { return 2 * self.packet }
            return max(2 * self.packet, min(Self.largestBurst, Int(self.bandwidth.value * Self.burstTime)))
        }
        return max(2 * self.packet, 3 * min(Self.largestQuantum, Int(self.bandwidth.value / 1_000)))
    }

    /// Maximum packet size in bytes that counts as a datagram, and the maximum quantum.
    private static let datagram = 1_500
    private static let largestQuantum = 96 << 10
    /// The gain while the window grows fourfold in a round trip.
    private static let fastGain = 4.0

    /// Updates the packet size in bytes. Until something was measured, few packets are in flight: a relay may reject them.
    mutating func setPacket(_ size: Int) {
        self.packet = size
        guard self.bandwidth.value == 0 else { return }
        self.window = min(self.window, max(self.minimum, self.initial))
    }

    // MARK: Acknowledgements

    /// Updates the model after packets were acknowledged.
    ///
    /// - Parameters:
    ///   - bytes: Their size.
    ///   - sample: The delivery rate. Nil if none could be measured.
    ///   - rtt: The round-trip time. Nil if none could be measured.
    ///   - delivered: The bytes that were delivered on this path altogether.
    ///   - inFlight: The bytes that are still in flight.
    ///   - now: The current time.
    mutating func acknowledged(
        _ bytes: Int,
        sample: DeliveryRate.Sample?,
        rtt: TimeAmount?,
        delivered: UInt64,
        inFlight: Int,
        at now: NIODeadline
    ) {
        self.losses.arrived(bytes)
        if let rtt { self.roundTrips.add(rtt, at: now) }
        self.bandwidth.acknowledged(bytes, window: self.window, at: now)
        if let sample, self.bandwidth.add(sample, isGrowing: self.phase == .startup, delivered: delivered) {
            self.endRound(isAppLimited: sample.isAppLimited, at: now)
        }
        self.advance(inFlight: inFlight, at: now)
        self.updateWindow(bytes)
    }

    private mutating func endRound(isAppLimited: Bool, at now: NIODeadline) {
        let full = self.bandwidth.endRound(isAppLimited: isAppLimited)
        switch self.phase {
        case .startup where !isAppLimited || self.isFull: self.judgeStartup(full, at: now)
        case .startup, .drain, .probeRTT: break
        case .probeUp:
            self.losses.probed(target: self.target)
            self.enter(.probeDown, at: now)
        case .probeDown: self.judgeRound(full, at: now)
        case .cruise(let rounds):
            self.phase = .cruise(rounds: max(0, rounds - 1))
            self.judgeRound(full, at: now)
        }
        self.roundTrips.endRound()
        self.losses.endRound()
    }

    /// Ends the startup if the bandwidth no longer grows: after three round trips, or after two if there is a queue. One
    /// is not enough, because the TCP connections below may be in their slow start.
    private mutating func judgeStartup(_ measured: Double?, at now: NIODeadline) {
        guard self.bandwidth.value < self.plateau.bandwidth * Self.startupGrowth else {
            self.plateau = (self.bandwidth.value, 0)
            return
        }
        self.plateau.rounds += 1
        guard self.plateau.rounds >= 3 || (self.plateau.rounds == 2 && self.hasQueue) else { return }
        if let measured { self.bandwidth.reset(to: measured) }
        self.enter(.drain, at: now)
    }

    /// Looks for a bandwidth that has changed much: starts up again if the last probe delivered more without a queue, and
    /// measures anew if much less is delivered than the path is expected to carry.
    private mutating func judgeRound(_ measured: Double?, at now: NIODeadline) {
        guard let measured else { return }
        if self.plateau.bandwidth > 0, measured >= self.plateau.bandwidth * Self.probeGrowth, !self.hasQueue {
            self.plateau = (self.bandwidth.value, 0)
            return self.enter(.startup, at: now)
        }
        guard self.hasLongQueue, measured < Self.collapse * self.bandwidth.value else {
            self.collapsed = 0
            return
        }
        self.collapsed += 1
        guard self.collapsed >= Self.collapsedRounds else { return }
        self.collapsed = 0
        self.bandwidth.reset(to: measured)
        self.enter(.drain, at: now)
    }

    /// Whether a queue shows that the path is full, although less than the window was sent. If little was sent, others
    /// caused the queue.
    private var isFull: Bool { self.hasQueue && self.losses.arrivedBytes >= self.initial * 3 / 4 }

    private var hasQueue: Bool { self.roundTrips.hasQueue(packet: self.packet, bandwidth: self.bandwidth.value) }

    private var hasLongQueue: Bool {
        self.roundTrips.hasLongQueue(packet: self.packet, bandwidth: self.bandwidth.value)
    }

    // MARK: Phases

    private mutating func enter(_ phase: CongestionPhase, at now: NIODeadline) {
        self.phase = phase
        self.isFirstStartup = false
        self.collapsed = 0
        self.phaseStart = now
    }

    /// Changes the phase if it is over.
    private mutating func advance(inFlight: Int, at now: NIODeadline) {
        switch self.phase {
        case .startup, .probeUp: break
        case .drain:
            if self.isDrained(inFlight, at: now) {
                self.plateau = (self.bandwidth.value, 0)
                self.enter(.cruise(rounds: 1), at: now)
            }
        case .cruise(let rounds):
            guard rounds == 0 else { break }
            self.plateau = (self.bandwidth.value, 0)
            self.enter(.probeUp, at: now)
        case .probeDown:
            if self.isDrained(inFlight, at: now) { self.enter(.cruise(rounds: Self.cruiseRounds), at: now) }
        case .probeRTT(let until):
            self.advanceProbeRTT(until, inFlight: inFlight, at: now)
            return
        }
        guard self.minimumRTT.isOutdated(at: now) else { return }
        // While little is in flight, there is no queue to be emptied first.
        if inFlight <= self.minimum / 2 || self.phase == .startup {
            self.roundTrips.replaceMinimum(at: now)
        } else {
            self.enter(.probeRTT(until: nil), at: now)
        }
    }

    /// Whether no more is in flight than the path holds without a queue, or the phase takes too long.
    private func isDrained(_ inFlight: Int, at now: NIODeadline) -> Bool {
        let roundTrip = TimeAmount.nanoseconds(self.minimumRTT.nanoseconds ?? 0)
        let delayed = self.bandwidth.value * Self.acknowledgementTime
        return Double(inFlight) <= self.product + delayed + Double(self.burst)
            || self.phaseStart + roundTrip * Self.drainRounds <= now
    }

    private mutating func advanceProbeRTT(_ until: NIODeadline?, inFlight: Int, at now: NIODeadline) {
        guard let until else {
            if inFlight <= self.target {
                let roundTrip = TimeAmount.nanoseconds(self.minimumRTT.nanoseconds ?? 0)
                self.phase = .probeRTT(until: now + max(Self.probeRTTDuration, roundTrip))
                self.roundTrips.restart()
            } else if self.phaseStart + Self.longestDraining <= now {
                // A queue that does not leave would be taken for a part of the path.
                self.roundTrips.keepMinimum(at: now)
                self.enter(.drain, at: now)
            }
            return
        }
        guard until <= now, self.roundTrips.replaceMinimum(at: now) else { return }
        self.enter(.cruise(rounds: Self.cruiseRounds), at: now)
    }

    private mutating func updateWindow(_ bytes: Int) {
        let target = self.target
        switch self.phase {
        case .startup where self.plateau.rounds == 0:
            // Until the path was full for a round trip, the window does not shrink.
            self.window = max(self.window, min(self.window + (self.growsFast ? 3 * bytes : bytes), target))
        case .startup, .drain, .probeUp, .probeDown, .cruise: self.window = min(self.window + bytes, target)
        case .probeRTT: self.window = min(self.window, target)
        }
        self.window = max(self.minimum, min(self.window, self.losses.ceiling ?? .max, self.maximum))
    }

    // MARK: Losses

    /// Records lost packets. If much is lost, reduces the window, at most once per round trip.
    ///
    /// - Parameters:
    ///   - bytes: The bytes of the lost packets.
    ///   - sentAt: When the newest of them was sent.
    ///   - now: The current time.
    mutating func lost(_ bytes: Int, sentAt: NIODeadline, at now: NIODeadline) {
        let reduced = max(self.minimum, self.window * 4 / 5)
        guard self.losses.lost(bytes, sentAt: sentAt, packet: self.packet, reduced: reduced, at: now) else { return }
        self.window = min(self.window, reduced)
        // Without a measurement the bandwidth is still unknown.
        guard self.phase == .startup, self.plateau.bandwidth > 0 else { return }
        self.plateau = (self.bandwidth.value, 0)
        self.enter(.cruise(rounds: 1), at: now)
    }

    /// Starts anew with a small window, because several probes were not acknowledged.
    mutating func pathIsSilent() {
        self.phase = .startup
        self.isFirstStartup = false
        self.plateau = (0, 0)
        self.largestInitial = max(Self.leastInitial, self.initial / 4)
        self.window = max(self.minimum, min(self.window / 2, self.initial))
    }

    /// Removes the ceiling that was set for a loss, because a packet that was declared lost arrived.
    mutating func lossWasSpurious(sentAt: NIODeadline) {
        if self.losses.wasSpurious(sentAt: sentAt) {
            self.window = max(self.window, min(self.target, self.maximum))
        }
    }
}
