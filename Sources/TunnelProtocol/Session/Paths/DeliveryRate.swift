//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Measures the rate at which a path delivers (draft-cheng-iccrg-delivery-rate-estimation).
///
/// A sample is the number of bytes that were acknowledged between the sending and the acknowledgement of a packet,
/// divided by the time in between. Acknowledgements that arrive in a burst therefore do not inflate it.
struct DeliveryRate: Hashable, Sendable {
    /// What was known when a packet was sent.
    struct Snapshot: Hashable, Sendable {
        /// Bytes that had been delivered.
        let delivered: UInt64
        /// When the last of these bytes was acknowledged.
        let deliveredAt: NIODeadline
        /// When the packet was sent whose acknowledgement came last.
        let firstSentAt: NIODeadline
        /// Whether the path had less to send than it could carry.
        let isAppLimited: Bool
    }

    /// The result of an acknowledgement.
    struct Sample: Hashable, Sendable {
        /// Bytes per second.
        let rate: Double
        /// Whether the rate is only a lower bound, because the path had less to send than it could carry.
        let isAppLimited: Bool
        /// Bytes that had been delivered when the acknowledged packet was sent.
        let deliveredBefore: UInt64
    }

    /// Bytes that were acknowledged.
    private(set) var delivered: UInt64 = 0
    private var deliveredAt = NIODeadline.uptimeNanoseconds(0)
    private var firstSentAt = NIODeadline.uptimeNanoseconds(0)
    /// Samples are limited by the application until more bytes than this are delivered. Nil if they are not. The first
    /// packet of a path is usually a PING.
    private var appLimitedUntil: UInt64? = 0

    /// Records that an ack-eliciting packet is sent, while `inFlight` bytes are in flight without it.
    mutating func sent(inFlight: Int, at now: NIODeadline) -> Snapshot {
        if inFlight == 0 {
            self.firstSentAt = now
            self.deliveredAt = now
        }
        return Snapshot(
            delivered: self.delivered,
            deliveredAt: self.deliveredAt,
            firstSentAt: self.firstSentAt,
            isAppLimited: self.appLimitedUntil != nil
        )
    }

    /// Records that the path had less to send than it could carry, while `inFlight` bytes are in flight.
    mutating func becameAppLimited(inFlight: Int) {
        self.appLimitedUntil = self.delivered + UInt64(inFlight)
    }

    /// Records an acknowledgement. Returns nil if it is too close to the previous one to give a rate.
    ///
    /// - Parameters:
    ///   - bytes: The size of all packets that were newly acknowledged.
    ///   - snapshot: The snapshot of the packet among them that was sent last.
    ///   - sentAt: When that packet was sent.
    ///   - minimumRTT: The minimum RTT of the path. A sample over a shorter time is not valid.
    ///   - now: The current time.
    mutating func acknowledged(
        _ bytes: Int,
        snapshot: Snapshot,
        sentAt: NIODeadline,
        minimumRTT: TimeAmount,
        at now: NIODeadline
    ) -> Sample? {
        self.delivered += UInt64(bytes)
        self.deliveredAt = now
        if let limit = self.appLimitedUntil, self.delivered > limit { self.appLimitedUntil = nil }
        self.firstSentAt = max(self.firstSentAt, sentAt)
        let sendTime = sentAt - snapshot.firstSentAt
        let acknowledgementTime = now - snapshot.deliveredAt
        let time = max(sendTime, acknowledgementTime)
        guard time > .zero, time >= minimumRTT, self.delivered > snapshot.delivered else { return nil }
        return Sample(
            rate: Double(self.delivered - snapshot.delivered) * 1e9 / Double(time.nanoseconds),
            isAppLimited: snapshot.isAppLimited,
            deliveredBefore: snapshot.delivered
        )
    }
}
