//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Estimates the round-trip time of a path (RFC 9002, section 5) and the time threshold for loss detection.
struct RTTEstimator: Hashable, Sendable {
    private let granularity: Int64
    private let initial: Int64
    private(set) var latest: TimeAmount?
    private(set) var smoothed: TimeAmount
    private(set) var variation: TimeAmount
    /// The minimum of all samples.
    private(set) var minimum: TimeAmount?
    /// The recent maximum of the samples in nanoseconds. It decreases by 1/64 with each sample, or faster if they are rare.
    /// A relay that delivers in batches often delays a packet until its next batch.
    private var recentMaximum: Int64 = 0
    private(set) var lastSample = NIODeadline.uptimeNanoseconds(0)
    /// When ``reordering`` last changed.
    private var lastReordering = NIODeadline.uptimeNanoseconds(0)
    /// Factor of the loss threshold. It grows when packets that were declared lost arrive, because the relay then
    /// reorders more than expected.
    private var reordering = 1.0

    /// How long the recent maximum is kept, approximately: as many smoothed RTTs, and so many nanoseconds at least.
    private static let memory: (roundTrips: Int64, least: Int64) = (16, 4_000_000_000)
    /// Maximum time of what is in flight that counts for the probe timeout.
    private static let longestTransfer: TimeAmount = .seconds(2)
    /// Maximum of ``reordering``.
    private static let widestReordering = 8.0

    init(initial: TimeAmount, granularity: TimeAmount) {
        self.initial = initial.nanoseconds
        self.granularity = granularity.nanoseconds
        self.smoothed = initial
        self.variation = .nanoseconds(initial.nanoseconds / 2)
    }

    var hasSample: Bool { self.latest != nil }

    /// Adds a sample: the time from sending a packet until it was acknowledged. The peer delayed the acknowledgement by
    /// `delay`.
    mutating func update(_ sample: TimeAmount, delay: TimeAmount, at now: NIODeadline) {
        let minimum = min(self.minimum?.nanoseconds ?? .max, sample.nanoseconds)
        self.minimum = .nanoseconds(minimum)
        var adjusted = sample.nanoseconds
        if adjusted - delay.nanoseconds >= minimum { adjusted -= delay.nanoseconds }
        if self.latest == nil {
            self.smoothed = .nanoseconds(adjusted)
            self.variation = .nanoseconds(adjusted / 2)
        } else {
            let difference = abs(self.smoothed.nanoseconds - adjusted)
            self.variation = .nanoseconds((3 * self.variation.nanoseconds + difference) / 4)
            self.smoothed = .nanoseconds((7 * self.smoothed.nanoseconds + adjusted) / 8)
        }
        self.latest = .nanoseconds(adjusted)
        let memory = max(Self.memory.least, Self.memory.roundTrips * self.smoothed.nanoseconds)
        let age = Double(min(memory, (now - self.lastSample).nanoseconds)) / Double(memory)
        self.recentMaximum = max(adjusted, Int64(Double(self.recentMaximum) * (1 - max(1 / 64, age))))
        self.lastSample = now
        if self.reordering > 1, self.lastReordering + .nanoseconds(memory) <= now {
            self.lastReordering = now
            self.reordering = max(1, self.reordering / 1.25)
        }
    }

    /// The time without an acknowledgement after which the path is probed (RFC 9002, section 6.2.1: PTO).
    ///
    /// - Parameters:
    ///   - acknowledgementDelay: Maximum delay with which the peer acknowledges packets.
    ///   - transfer: How long the path needs for what is in flight. After small packets the RTT is shorter than that. At most
    ///     ``longestTransfer`` counts, because the path may have become faster.
    func probeTimeout(acknowledgementDelay: TimeAmount, transfer: TimeAmount = .zero) -> TimeAmount {
        .nanoseconds(
            max(
                max(self.smoothed, min(transfer, Self.longestTransfer)).nanoseconds
                    + max(4 * self.variation.nanoseconds, self.granularity),
                self.recentMaximum * 5 / 4
            ) + acknowledgementDelay.nanoseconds
        )
    }

    /// The age at which a packet is declared lost if a later packet was acknowledged (RFC 9002, section 6.1.2). There
    /// is no packet threshold, because relays reorder events that they deliver together.
    var lossDelay: TimeAmount {
        let latest = max(self.smoothed.nanoseconds, self.latest?.nanoseconds ?? self.initial)
        let base = max(
            latest * 9 / 8,
            self.smoothed.nanoseconds + 4 * self.variation.nanoseconds,
            self.recentMaximum * 9 / 8
        )
        return .nanoseconds(max(self.granularity, Int64(Double(base) * self.reordering)))
    }

    /// Increases the loss threshold because a packet that was declared lost arrived.
    mutating func lossWasSpurious(at now: NIODeadline) {
        self.lastReordering = now
        self.reordering = min(Self.widestReordering, self.reordering * 1.25)
    }

    /// Slowly decreases the loss threshold after a packet was declared lost.
    mutating func lossWasReal() {
        self.reordering = max(1, self.reordering * 0.995)
    }
}
