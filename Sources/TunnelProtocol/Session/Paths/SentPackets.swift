//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The packets that were sent on a path: which are in flight, which arrived, and which were lost.
struct SentPackets: Sendable {
    /// All packets from the oldest one that may still be acknowledged or lost, without gaps in the numbers.
    private var packets: Deque<SentPacket> = []
    private(set) var nextNumber: UInt64 = 0
    private(set) var bytesInFlight = 0
    /// Number of ack-eliciting packets in flight.
    private(set) var elicitingInFlight = 0
    private(set) var largestAcknowledged: UInt64?
    /// Number of packets that were declared lost. Some of them may have arrived later.
    private(set) var lostCount: UInt64 = 0
    private var rate = DeliveryRate()

    /// Maximum number of packets that are kept, unless the oldest is still in flight.
    static let limit = 8_192

    private func index(of number: UInt64) -> Int? {
        guard let first = self.packets.first?.number, number >= first, number - first < UInt64(self.packets.count)
        else { return nil }
        return Int(number - first)
    }

    subscript(number: UInt64) -> SentPacket? { self.index(of: number).map { self.packets[$0] } }

    /// The numbers of the packets that are kept.
    var numbers: Range<UInt64> {
        let first = self.packets.first?.number ?? self.nextNumber
        return first..<(first + UInt64(self.packets.count))
    }

    /// Records a sent packet and increments the packet number.
    mutating func record(size: Int, isAckEliciting: Bool, frames: [SessionFrame], at now: NIODeadline) {
        self.packets.append(
            SentPacket(
                number: self.nextNumber,
                sentAt: now,
                size: size,
                isAckEliciting: isAckEliciting,
                rate: isAckEliciting ? self.rate.sent(inFlight: self.bytesInFlight, at: now) : nil,
                frames: frames
            )
        )
        self.nextNumber += 1
        if isAckEliciting {
            self.bytesInFlight += size
            self.elicitingInFlight += 1
        }
        while self.packets.count > Self.limit, let first = self.packets.first,
            first.state != .inFlight || !first.isAckEliciting
        {
            self.packets.removeFirst()
        }
    }

    /// Skips a packet number.
    mutating func skip(at now: NIODeadline) {
        self.record(size: 0, isAckEliciting: false, frames: [], at: now)
        self.packets[self.packets.count - 1].wasSkipped = true
    }

    /// The oldest packet in flight whose frames were not sent again; nil if there is none.
    var oldestReinjectable: SentPacket? {
        guard self.elicitingInFlight > 0 else { return nil }
        return self.packets.first { $0.isInFlight && !$0.wasReinjected && $0.hasContent }
    }

    mutating func markReinjected(_ number: UInt64) {
        if let index = self.index(of: number) { self.packets[index].wasReinjected = true }
    }

    // MARK: Acknowledgements

    /// Marks a packet as acknowledged. Returns it as it was before; nil if it is unknown or was acknowledged before.
    mutating func acknowledge(_ number: UInt64) -> SentPacket? {
        guard let index = self.index(of: number) else { return nil }
        let packet = self.packets[index]
        guard packet.state != .acknowledged else { return nil }
        if packet.isInFlight { self.leftFlight(packet) }
        self.packets[index].state = .acknowledged
        self.packets[index].frames = []
        self.largestAcknowledged = max(self.largestAcknowledged ?? 0, number)
        return packet
    }

    /// The bytes that were delivered.
    var deliveredBytes: UInt64 { self.rate.delivered }

    /// Records that there was less to send than the path could carry.
    mutating func becameAppLimited() { self.rate.becameAppLimited(inFlight: self.bytesInFlight) }

    /// Returns the delivery rate after packets of `bytes` bytes together were acknowledged; nil if it cannot be measured.
    ///
    /// - Parameters:
    ///   - bytes: The size of the newly acknowledged packets.
    ///   - newest: The packet among them that was sent last.
    ///   - minimumRTT: The minimum RTT of the path.
    ///   - now: The current time.
    mutating func deliveryRate(
        _ bytes: Int,
        newest: SentPacket,
        minimumRTT: TimeAmount,
        at now: NIODeadline
    ) -> DeliveryRate.Sample? {
        guard let snapshot = newest.rate else { return nil }
        return self.rate.acknowledged(
            bytes,
            snapshot: snapshot,
            sentAt: newest.sentAt,
            minimumRTT: minimumRTT,
            at: now
        )
    }

    private mutating func leftFlight(_ packet: SentPacket) {
        self.bytesInFlight -= packet.size
        self.elicitingInFlight -= 1
    }

    /// Removes packets at the front that need no further handling: acknowledged ones, and lost ones after `lifetime`.
    mutating func trim(lifetime: TimeAmount, at now: NIODeadline) {
        while let first = self.packets.first {
            switch first.state {
            case .acknowledged: break
            case .lost(let at) where at + lifetime <= now: break
            case .inFlight where !first.isAckEliciting && first.number < self.largestAcknowledged ?? 0: break
            case .lost, .inFlight: return
            }
            self.packets.removeFirst()
        }
    }

    // MARK: Loss

    /// The oldest ack-eliciting packet in flight; nil if there is none.
    var oldestInFlight: SentPacket? {
        guard self.elicitingInFlight > 0 else { return nil }
        return self.packets.first { $0.isInFlight }
    }

    /// Whether a packet was sent before the largest acknowledged one.
    func isOvertaken(_ number: UInt64) -> Bool { self.largestAcknowledged.map { number < $0 } ?? false }

    /// The oldest ack-eliciting packet in flight that was sent before the largest acknowledged one; nil if there is
    /// none.
    var oldestOvertaken: SentPacket? {
        for packet in self.packets {
            guard self.isOvertaken(packet.number) else { return nil }
            if packet.isInFlight { return packet }
        }
        return nil
    }

    /// Declares a packet lost. Returns it; nil if it is not in flight.
    ///
    /// - Parameters:
    ///   - number: The number of the packet.
    ///   - isByTime: Whether the time threshold was exceeded.
    ///   - now: The current time.
    mutating func lose(_ number: UInt64, isByTime: Bool, at now: NIODeadline) -> SentPacket? {
        guard let index = self.index(of: number), self.packets[index].state == .inFlight else { return nil }
        self.packets[index].state = .lost(at: now)
        self.packets[index].wasLostByTime = isByTime
        guard self.packets[index].isAckEliciting else { return nil }
        self.lostCount += 1
        self.leftFlight(self.packets[index])
        return self.packets[index]
    }
}
