//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// What was measured of the network below a path: RTT, one-way delay, bandwidth, and the pace that follows from them.
struct PathModel: Sendable {
    private(set) var rtt: RTTEstimator
    private(set) var congestion: CongestionController
    private(set) var packetPacer = PacketPacer()
    /// The minimum one-way delay to the peer.
    private var forward = MinimumRTT()
    /// When a loss was last found to be spurious.
    private var lastSpurious: NIODeadline?

    init(_ configuration: SessionConfiguration) {
        self.rtt = RTTEstimator(initial: configuration.initialRTT, granularity: configuration.granularity)
        self.congestion = CongestionController(maximum: configuration.maximumCongestionWindow)
    }

    /// The minimum one-way delay to the peer in nanoseconds; nil before the first measurement.
    var forwardDelay: Int64? { self.forward.nanoseconds }

    /// What the path is expected to carry, in bytes per second.
    var expectedRate: Double { self.congestion.expectedRate(rtt: self.rtt.smoothed) }

    /// How long the path needs for `bytes` bytes at the expected rate.
    func transferTime(_ bytes: Int) -> TimeAmount {
        .nanoseconds(Int64(min(Double(bytes) * 1e9 / max(1, self.expectedRate), 1e12)))
    }

    /// Updates the packet size in bytes.
    mutating func setPacket(_ size: Int) { self.congestion.setPacket(size) }

    /// Records that an ack-eliciting packet of `size` bytes was sent.
    mutating func sent(_ size: Int, at now: NIODeadline) {
        self.packetPacer.sent(size, rate: self.congestion.pacingRate, at: now)
    }

    /// Adds an RTT sample.
    ///
    /// - Parameters:
    ///   - sample: The time from sending a packet until it was acknowledged.
    ///   - delay: By how much the peer delayed the acknowledgement.
    ///   - returnDelay: The one-way delay in nanoseconds of the path on which the acknowledgement came, if that is another
    ///     one.
    ///   - now: The current time.
    mutating func measured(_ sample: TimeAmount, delay: TimeAmount, returnDelay: Int64?, at now: NIODeadline) {
        self.rtt.update(sample, delay: delay, at: now)
        guard let whole = self.rtt.latest?.nanoseconds else { return }
        let forward = returnDelay.map { $0 < whole ? whole - $0 : whole / 2 } ?? whole / 2
        if self.forward.isOutdated(at: now) {
            self.forward.replace(by: forward, at: now)
        } else {
            self.forward.add(.nanoseconds(forward), at: now)
        }
    }

    /// Records that `bytes` bytes were acknowledged.
    ///
    /// - Parameters:
    ///   - bytes: Their number.
    ///   - sample: The delivery rate. Nil if none could be measured.
    ///   - hasRTT: Whether the acknowledgement gave an RTT sample.
    ///   - sent: The path's packets.
    ///   - now: The current time.
    mutating func acknowledged(
        _ bytes: Int,
        sample: DeliveryRate.Sample?,
        hasRTT: Bool,
        _ sent: SentPackets,
        at now: NIODeadline
    ) {
        self.congestion.acknowledged(
            bytes,
            sample: sample,
            rtt: hasRTT ? self.rtt.latest : nil,
            delivered: sent.deliveredBytes,
            inFlight: sent.bytesInFlight,
            at: now
        )
    }

    /// Records that a packet that was declared lost arrived.
    mutating func lossWasSpurious(_ packet: SentPacket, at now: NIODeadline) {
        // Only a spurious loss by the time threshold increases the threshold, at most once per round trip.
        if packet.wasLostByTime, self.lastSpurious.map({ $0 + self.rtt.smoothed <= now }) ?? true {
            self.lastSpurious = now
            self.rtt.lossWasSpurious(at: now)
        }
        self.congestion.lossWasSpurious(sentAt: packet.sentAt)
    }

    /// Records that packets were declared lost by the time threshold.
    ///
    /// - Parameters:
    ///   - packets: Their number.
    ///   - bytes: Their size.
    ///   - sentAt: When the newest of them was sent.
    ///   - now: The current time.
    mutating func lost(_ packets: Int, bytes: Int, sentAt: NIODeadline, at now: NIODeadline) {
        for _ in 0..<packets { self.rtt.lossWasReal() }
        self.congestion.lost(bytes, sentAt: sentAt, at: now)
    }

    /// Starts anew with a small window, because several probes were not acknowledged.
    mutating func pathIsSilent() { self.congestion.pathIsSilent() }
}
