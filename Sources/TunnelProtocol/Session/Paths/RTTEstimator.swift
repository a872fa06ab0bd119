//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Round trip of a path (RFC 9002, section 5), and how long packets may lag behind later ones before they count as lost.
struct RTTEstimator: Hashable, Sendable {
    private let granularity: Int64
    private let initial: Int64
    private(set) var latest: TimeAmount?
    private(set) var smoothed: TimeAmount
    private(set) var variation: TimeAmount
    /// Least that was ever seen.
    private(set) var minimum: TimeAmount?
    /// The largest of the last samples, fading: a relay that delivers in batches is often late by one.
    private var crest: Int64 = 0
    /// Grows when packets that counted as lost arrive after all: that relay reorders more widely.
    private var reordering = 1.0

    /// Bounds of how much wider than the round trip the reordering window becomes.
    private static let widestReordering = 8.0

    init(initial: TimeAmount, granularity: TimeAmount) {
        self.initial = initial.nanoseconds
        self.granularity = granularity.nanoseconds
        self.smoothed = initial
        self.variation = .nanoseconds(initial.nanoseconds / 2)
    }

    var hasSample: Bool { self.latest != nil }

    /// A packet was acknowledged `sample` after it was sent, and the acknowledgement had waited `delay`.
    mutating func update(_ sample: TimeAmount, delay: TimeAmount) {
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
        self.crest = max(adjusted, self.crest - self.crest / 64)
    }

    /// Time without an acknowledgement after which the path is probed (RFC 9002, section 6.2.1).
    func probeTimeout(acknowledgementDelay: TimeAmount) -> TimeAmount {
        .nanoseconds(
            max(
                self.smoothed.nanoseconds + max(4 * self.variation.nanoseconds, self.granularity),
                self.crest * 5 / 4
            ) + acknowledgementDelay.nanoseconds
        )
    }

    /// Time after which a packet is lost once a later one was acknowledged. Relays reorder what they deliver together,
    /// so the number of later packets says nothing.
    var lossDelay: TimeAmount {
        let latest = max(self.smoothed.nanoseconds, self.latest?.nanoseconds ?? self.initial)
        let base = max(
            latest * 9 / 8,
            self.smoothed.nanoseconds + 4 * self.variation.nanoseconds,
            self.crest * 9 / 8
        )
        return .nanoseconds(max(self.granularity, Int64(Double(base) * self.reordering)))
    }

    /// A loss was none: be more patient.
    mutating func lossWasSpurious() {
        self.reordering = min(Self.widestReordering, self.reordering * 1.25)
    }

    /// A loss stayed one: slowly less patient again.
    mutating func lossWasReal() {
        self.reordering = max(1, self.reordering * 0.995)
    }
}
