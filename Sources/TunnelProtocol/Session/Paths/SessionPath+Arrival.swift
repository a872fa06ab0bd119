//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// When a packet would arrive at the peer by this path.
extension SessionPath {
    /// For how long a queue is expected to remain that the last RTT has shown.
    private static let queueMemory: TimeAmount = .seconds(1)
    /// While nothing else waits, a packet is sent again that has been in flight for this many times as long as another path
    /// takes. The one-way delay of the packet's own path is an estimate, which may be much too low.
    private static let overdueFactor = 3

    /// How long it takes until `bytes` more bytes have arrived at the peer, if they are sent as soon as this path allows.
    func arrival(of bytes: Int, at now: NIODeadline) -> TimeAmount {
        let surplus = max(0, self.sent.bytesInFlight + min(bytes, self.packetSize) - self.congestion.window)
        let event = (self.pacer.wait(at: now) ?? now) - now
        let wait = max(self.model.transferTime(surplus), self.model.packetPacer.delay(at: now), event)
        let ahead = min(self.sent.bytesInFlight, self.congestion.window)
        return wait + self.model.transferTime(bytes) + self.delay(behind: ahead, at: now) + self.silence(at: now)
    }

    /// The one-way delay of a packet behind `bytes` bytes in flight: the minimum one-way delay and the queueing delay. The
    /// queueing delay is estimated from the bytes in flight, and from the last RTT sample, whose weight decreases to zero
    /// within ``queueMemory``. A path that carries nothing gives no new sample, and its queue is gone.
    private func delay(behind bytes: Int, at now: NIODeadline) -> TimeAmount {
        guard let minimum = self.congestion.minimumRTT.nanoseconds else {
            return .nanoseconds(self.rtt.smoothed.nanoseconds / 2)
        }
        let inFlight = self.model.transferTime(bytes).nanoseconds - minimum
        let measured = (self.rtt.smoothed.nanoseconds - minimum) / 2
        let age = Double((now - self.rtt.lastSample).nanoseconds) / Double(Self.queueMemory.nanoseconds)
        let queue = max(inFlight, Int64(Double(measured) * max(0, 1 - age)), 0)
        return .nanoseconds((self.model.forwardDelay ?? minimum / 2) + queue)
    }

    /// How long it takes until a small message has arrived, which does not wait for the window.
    func messageArrival(at now: NIODeadline) -> TimeAmount {
        let event = (self.pacer.wait(at: now) ?? now) - now
        return event + self.delay(behind: self.sent.bytesInFlight, at: now) + self.silence(at: now)
    }

    /// Returns the oldest packet in flight that another path, which takes `arrival`, would deliver earlier. Returns nil if no
    /// packet qualifies.
    ///
    /// - Parameters:
    ///   - arrival: The time that the other path takes.
    ///   - isIdle: Whether nothing else waits to be sent. If not, only a packet counts whose acknowledgement is overdue.
    ///   - now: The current time.
    func reinjectable(arrival: TimeAmount, isIdle: Bool, at now: NIODeadline) -> SentPacket? {
        guard let packet = self.sent.oldestReinjectable else { return nil }
        if self.reinjectionDeadline(arrival: arrival, isIdle: isIdle).map({ $0 <= now }) ?? false { return packet }
        let delay = max(self.model.forwardDelay ?? 0, self.rtt.smoothed.nanoseconds / 2)
        let remaining = packet.sentAt + .nanoseconds(delay) - now
        return isIdle && remaining > Self.clearly(arrival) ? packet : nil
    }

    /// When the acknowledgement of the oldest packet is overdue for so long that another path, which takes `arrival`, is
    /// the better one. Nil if there is no packet.
    func reinjectionDeadline(arrival: TimeAmount, isIdle: Bool) -> NIODeadline? {
        guard let packet = self.sent.oldestReinjectable else { return nil }
        let overdue = packet.sentAt + self.rtt.lossDelay + Self.clearly(arrival)
        return isIdle ? min(overdue, packet.sentAt + arrival * Self.overdueFactor + self.acknowledgementDelay) : overdue
    }

    /// The time by which the other path must be better, because sending again costs bandwidth.
    private static func clearly(_ arrival: TimeAmount) -> TimeAmount { .nanoseconds(arrival.nanoseconds * 5 / 4) }

    /// By how much an acknowledgement is overdue, and for how long the socket has accepted no data. A path that may have
    /// stopped delivering becomes less attractive.
    private func silence(at now: NIODeadline) -> TimeAmount {
        let blocked = self.unwritableSince.map { now - $0 } ?? .zero
        guard let oldest = self.sent.oldestInFlight else { return blocked }
        let since = max(oldest.sentAt, self.probe.lastAcknowledgement)
        return max(blocked, now - since - self.rtt.smoothed - self.acknowledgementDelay)
    }
}
