//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// A path of a session: the packets in both directions, and the RTT, congestion control, event rate and health.
struct SessionPath: Sendable {
    /// The health of a path.
    enum Health: Hashable, Sendable {
        /// The relay is not connected.
        case down
        /// The relay is connected, but it is not known whether packets reach the peer. Only probes are sent.
        case probing
        /// The path carries data.
        case active
    }

    let id: PathID
    /// Whether packets travel in datagrams to the peer, and not in events over a relay.
    var isDirect: Bool { self.id == .direct }
    var description: PathDescription
    var health = Health.down
    /// Since when the relay's socket accepts no more data; nil if it does.
    private(set) var unwritableSince: NIODeadline?
    var isWritable: Bool { self.unwritableSince == nil }
    private(set) var model: PathModel
    var rtt: RTTEstimator { self.model.rtt }
    var congestion: CongestionController { self.model.congestion }
    var pacer: EventPacer
    var probe = ProbeTimer()
    var received = ReceivedPackets()
    private(set) var sizer: PacketSizer

    private(set) var sent = SentPackets()
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    /// Maximum delay with which the peer acknowledges packets.
    var acknowledgementDelay: TimeAmount { self.configuration.acknowledgementDelay }
    /// The first packet of the current connection, and the bytes that were delivered before. Earlier packets are not measured,
    /// and their acknowledgements say nothing about the connection.
    private var firstNumber: UInt64 = 0
    private(set) var firstDelivered: UInt64 = 0
    /// The packet numbers to skip on a direct path. Over a relay, the peer cannot direct packets at anybody else.
    private var skipped: SkippedNumbers?
    /// Bytes sent since the last packet that contained IMMEDIATE_ACK.
    private var bytesSinceAsking = 0
    /// Since when the relay reports that the peer is not subscribed. Nil if a packet has arrived or was acknowledged on this
    /// path after that, or if the relay was connected again.
    private(set) var desertedSince: NIODeadline?
    var isDeserted: Bool { self.desertedSince != nil }
    /// When a PING was last sent with an acknowledgement. It allows a path that sends only acknowledgements to be
    /// measured.
    var lastPing = NIODeadline.uptimeNanoseconds(0)

    /// Number of probe timeouts for which lost packets are kept.
    private static let lostLifetime: Int64 = 3
    /// Minimum packet size in bytes, unless the relay declares a lower limit. Smaller packets would waste a
    /// slow path on what each event needs besides its data.
    static let leastPacket = 4_096
    /// On a direct path, a packet is lost if one that was sent this many packets later has arrived (RFC 9002, section 6.1.1:
    /// kPacketThreshold). Relays may reorder, so time alone decides there.
    private static let packetThreshold: UInt64 = 3
    /// Maximum RTT of a packet that was declared lost.
    private static let longestSample: TimeAmount = .seconds(3)

    /// - Parameters:
    ///   - id: The path's number.
    ///   - description: The relay and its limits.
    ///   - configuration: The limits of the session.
    ///   - peerTakes: Maximum packet size in bytes that the peer accepts.
    init(id: PathID, description: PathDescription, configuration: SharedSessionConfiguration, peerTakes: UInt64) {
        self.id = id
        self.description = description
        self.shared = configuration
        self.model = PathModel(configuration.value)
        self.pacer = EventPacer(budget: description.budget)
        self.sizer = Self.sizer(description, peerTakes)
        self.skipped = description.skippedNumbers.map { SkippedNumbers(secret: $0, from: 0) }
        self.model.setPacket(self.packetSize)
    }

    private static func sizer(_ description: PathDescription, _ peerTakes: UInt64) -> PacketSizer {
        let largest = min(SessionConfiguration.largestPacket, Int(clamping: peerTakes))
        return PacketSizer(
            base: min(description.maximumPlaintext, SessionConfiguration.basePacket, largest),
            largest: min(description.largestPlaintext, largest)
        )
    }

    mutating func setWritable(_ isWritable: Bool, at now: NIODeadline) {
        self.unwritableSince = isWritable ? nil : self.unwritableSince ?? now
    }

    /// Records that the relay reported that the peer is not subscribed.
    mutating func wasDeserted(at now: NIODeadline) { self.desertedSince = self.desertedSince ?? now }

    /// Updates the path after it was connected again, possibly to another relay with the same URL.
    mutating func update(_ description: PathDescription, peerTakes: UInt64) {
        self.description = description
        if self.health == .down { self.forgetNetwork() }
        let sizer = Self.sizer(description, peerTakes)
        self.sizer.reconnected(base: sizer.base, largest: sizer.largest)
        self.model.setPacket(self.packetSize)
    }

    /// Forgets what was measured, because the new connection may use another network (RFC 9000, section 9.4).
    private mutating func forgetNetwork() {
        self.model = PathModel(self.configuration)
        // The next packets are probes, and say nothing about the rate.
        self.sent.becameAppLimited()
        self.desertedSince = nil
        self.firstNumber = self.sent.nextNumber
        self.firstDelivered = self.sent.deliveredBytes
    }

    /// Records that the relay rejected a packet because of its rate limit.
    mutating func wasRateLimited(_ number: UInt64, at now: NIODeadline) {
        self.pacer.rejected(sentAt: self.sent[number]?.sentAt ?? now, at: now)
    }

    /// Records that the relay rejected a packet. Returns true if the packet's size is the likely reason.
    mutating func wasRefused(_ number: UInt64) -> Bool {
        guard let packet = self.sent[number], self.sizer.refused(size: packet.size) else { return false }
        self.model.setPacket(self.packetSize)
        return true
    }

    // MARK: Sending

    /// Returns whether a packet of `size` bytes should contain IMMEDIATE_ACK: half of the window was sent since the
    /// last packet that did.
    ///
    /// An acknowledgement is a separate event and costs about as much as a packet of 16 KiB. Two acknowledgements per
    /// window are enough to keep the path busy. A packet that fills the window requests one only if no other packet in
    /// flight does.
    mutating func shouldAsk(size: Int) -> Bool {
        let fills = self.sent.bytesInFlight + size >= self.congestion.window
        self.bytesSinceAsking += size
        let isAlone = fills && self.bytesSinceAsking >= self.sent.bytesInFlight + size
        guard isAlone || self.bytesSinceAsking >= self.congestion.window / 2 else { return false }
        self.bytesSinceAsking = 0
        return true
    }

    /// Records a sent packet and increments the packet number.
    mutating func record(size: Int, isAckEliciting: Bool, frames: [SessionFrame], at now: NIODeadline) {
        self.sizer.sent(self.sent.nextNumber, size: size)
        self.sent.record(size: size, isAckEliciting: isAckEliciting, frames: frames, at: now)
        self.pacer.sent(at: now)
        if let skipped = self.skipped?.next, skipped <= self.sent.nextNumber {
            self.sent.skip(at: now)
            self.skipped?.wasSkipped()
        }
        guard isAckEliciting else { return }
        self.model.sent(size, at: now)
        self.probe.sent(isActive: self.health == .active, at: now)
    }

    /// Records that there was less to send than the path could carry.
    mutating func becameAppLimited() { self.sent.becameAppLimited() }

    // MARK: Acknowledgements

    /// Processes an ACK frame. Returns nil if it acknowledges a packet that was not sent.
    ///
    /// - Parameters:
    ///   - acknowledgement: The frame.
    ///   - returnDelay: The one-way delay in nanoseconds of the path on which the frame came, if that is another one.
    ///   - now: The current time.
    mutating func acknowledged(
        _ acknowledgement: SessionFrame.Acknowledgement,
        returnDelay: Int64?,
        at now: NIODeadline
    ) -> SessionPathAcknowledgement? {
        guard let largest = acknowledgement.ranges.first?.upperBound, largest < self.sent.nextNumber else { return nil }
        var result = SessionPathAcknowledgement()
        var newestEliciting: SentPacket?
        for range in acknowledgement.ranges {
            let known = Range(range).clamped(to: self.sent.numbers)
            for number in known {
                guard let packet = self.sent.acknowledge(number) else { continue }
                if packet.wasSkipped { return nil }
                result.isNew = true
                result.frames += packet.frames
                guard number >= self.firstNumber else { continue }
                result.isCurrent = true
                if case .lost = packet.state { self.model.lossWasSpurious(packet, at: now) }
                self.sizer.acknowledged(number, size: packet.size)
                guard packet.isAckEliciting else { continue }
                if newestEliciting.map({ $0.number < number }) ?? true { newestEliciting = packet }
                result.bytes += packet.size
            }
        }
        guard result.isCurrent else {
            self.trim(at: now)
            return result
        }
        if let newestEliciting {
            // The RTT of a packet that was declared lost may include an outage. If it is short, the packet was declared lost
            // too early, because the path is slower than expected.
            let isTimely = newestEliciting.isInFlight || now - newestEliciting.sentAt <= Self.longestSample
            let isLargest = newestEliciting.number == largest && isTimely
            if isLargest {
                let delay = TimeAmount.microseconds(Int64(min(acknowledgement.delay, 1_000_000)))
                let time = now - newestEliciting.sentAt
                self.model.measured(time, delay: delay, returnDelay: returnDelay, at: now)
            }
            let sample = self.sent.deliveryRate(
                result.bytes,
                newest: newestEliciting,
                minimumRTT: self.rtt.minimum ?? .zero,
                at: now
            )
            self.model.acknowledged(result.bytes, sample: sample, hasRTT: isLargest, self.sent, at: now)
        }
        self.model.setPacket(self.packetSize)
        self.probe.acknowledged(isEliciting: newestEliciting != nil, at: now)
        self.desertedSince = nil
        self.trim(at: now)
        return result
    }

    private mutating func trim(at now: NIODeadline) {
        let lifetime = self.rtt.probeTimeout(acknowledgementDelay: .zero).nanoseconds * Self.lostLifetime
        self.sent.trim(lifetime: .nanoseconds(lifetime), at: now)
    }

    // MARK: Loss

    /// Records that the frames of a packet were sent again.
    mutating func markReinjected(_ number: UInt64) { self.sent.markReinjected(number) }

    /// Declares packets lost by the time threshold. Returns their frames, oldest first.
    mutating func detectLosses(at now: NIODeadline) -> [SessionFrame] {
        let deadline = now - self.rtt.lossDelay
        var newest: NIODeadline?
        var lost = (packets: 0, bytes: 0)
        var frames: [SessionFrame] = []
        for number in self.sent.numbers {
            guard let packet = self.sent[number], self.sent.isOvertaken(number),
                packet.sentAt <= deadline || self.isFarBehind(number)
            else { break }
            guard packet.isInFlight else { continue }
            let isProbe = self.sizer.isProbe(packet.number)
            frames += self.markLost(packet.number, isByTime: !isProbe, at: now)
            // The packet may have been lost because of its size, so it is not a sign of congestion.
            if isProbe { continue }
            newest = packet.sentAt
            lost.bytes += packet.size
            lost.packets += 1
        }
        if let newest { self.model.lost(lost.packets, bytes: lost.bytes, sentAt: newest, at: now) }
        return frames
    }

    /// Whether so many later packets were sent that a packet counts as lost without waiting.
    private func isFarBehind(_ number: UInt64) -> Bool {
        guard self.isDirect, let largest = self.sent.largestAcknowledged else { return false }
        // A skipped number is no packet.
        let isSkipped = self.skipped?.last.map { (number..<number + Self.packetThreshold).contains($0) } ?? false
        return largest >= number + Self.packetThreshold + (isSkipped ? 1 : 0)
    }

    /// Handles a probe timeout. Returns the frames to send again.
    ///
    /// After TCP has lost a segment, it delivers nothing until the retransmission arrives, and then all data at once. So the
    /// packets in flight are declared lost only after ``ProbeTimer/silentProbes`` timeouts.
    ///
    /// - Parameters:
    ///   - isAlone: Whether no other path is active. Then the probe carries what the oldest packet in flight carried.
    ///   - now: The current time.
    mutating func probeTimedOut(isAlone: Bool, at now: NIODeadline) -> [SessionFrame] {
        switch self.probe.timedOut(isActive: self.health == .active, at: now) {
        case .early: return []
        case .silent(let isNew):
            if isNew { self.model.pathIsSilent() }
            self.health = .probing
            return self.loseAll(at: now)
        case .overdue: break
        }
        guard isAlone, let oldest = self.sent.oldestReinjectable else { return [] }
        // A PING alone shows whether the connection is alive, and then nothing was lost.
        guard self.probe.count > 1 || oldest.size <= Self.leastPacket else { return [] }
        self.markReinjected(oldest.number)
        return oldest.frames
    }

    /// Probes a path soon that has been silent, because a packet arrived on it. It probably also works in the other
    /// direction.
    mutating func heard(at now: NIODeadline) {
        self.desertedSince = nil
        guard self.health != .down else { return }
        self.probe.heard(
            isActive: self.health == .active,
            isWaiting: self.sent.elicitingInFlight > 0,
            roundTrip: self.rtt.smoothed,
            at: now
        )
    }

    /// Declares all packets in flight lost because the path was removed or is silent. This is not treated as
    /// congestion. Returns their frames.
    mutating func loseAll(at now: NIODeadline) -> [SessionFrame] {
        self.sent.numbers.filter { self.sent[$0]?.isInFlight == true }.flatMap { self.lose($0, at: now) }
    }

    /// Declares a packet lost because the relay did not accept it. Returns its frames.
    ///
    /// - Parameter isForItsSize: Whether its size may be the reason.
    mutating func lose(_ number: UInt64, isForItsSize: Bool = true, at now: NIODeadline) -> [SessionFrame] {
        self.markLost(number, isByTime: false, isForItsSize: isForItsSize, at: now)
    }

    private mutating func markLost(
        _ number: UInt64,
        isByTime: Bool,
        isForItsSize: Bool = true,
        at now: NIODeadline
    ) -> [SessionFrame] {
        guard let packet = self.sent.lose(number, isByTime: isByTime, at: now) else { return [] }
        if isForItsSize {
            self.sizer.lost(number, size: packet.size)
        } else {
            self.sizer.withdrawn(number)
        }
        self.model.setPacket(self.packetSize)
        return packet.frames
    }
}
