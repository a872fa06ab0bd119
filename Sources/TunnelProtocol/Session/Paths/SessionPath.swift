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
    var description: PathDescription
    var health = Health.down
    /// Since when the relay's socket accepts no more data; nil if it does.
    private(set) var unwritableSince: NIODeadline?
    var isWritable: Bool { self.unwritableSince == nil }
    var rtt: RTTEstimator
    /// When a loss was last found to be spurious.
    private var lastSpurious: NIODeadline?
    var congestion: CongestionController
    var pacer = EventPacer()
    private(set) var packetPacer = PacketPacer()
    var received = ReceivedPackets()
    private(set) var sizer: PacketSizer

    private(set) var sent = SentPackets()
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    /// Maximum delay with which the peer acknowledges packets.
    var acknowledgementDelay: TimeAmount { self.configuration.acknowledgementDelay }
    private(set) var lastElicitingSent = NIODeadline.uptimeNanoseconds(0)
    /// The minimum one-way delay to the peer.
    private var forward = MinimumRTT()
    var forwardDelay: Int64? { self.forward.nanoseconds }
    /// The first packet of the current connection. Earlier ones are not measured.
    private var firstNumber: UInt64 = 0
    /// When a packet was last acknowledged.
    private(set) var lastAcknowledgement = NIODeadline.uptimeNanoseconds(0)
    /// Bytes sent since the last packet that contained IMMEDIATE_ACK.
    private var bytesSinceAsking = 0
    /// Number of consecutive probe timeouts (RFC 9002: pto_count).
    var probeCount = 0
    /// When the next probe is due while the path is in the state `probing`, or because a packet arrived on a path that had
    /// been silent.
    var probeDue: NIODeadline?
    /// Whether the path was probed because a packet arrived on it, since a packet was last acknowledged.
    private var hasProbedAgain = false
    /// Whether the relay reported that the peer is not subscribed, and no packet has arrived or been acknowledged on
    /// this path since.
    var isDeserted = false
    /// When a PING was last sent with an acknowledgement. It allows a path that sends only acknowledgements to be
    /// measured.
    var lastPing = NIODeadline.uptimeNanoseconds(0)

    /// Number of probe timeouts for which lost packets are kept.
    private static let lostLifetime: Int64 = 3
    /// How long a packet may occupy the path. Small messages wait behind it.
    private static let packetTime = 0.02
    /// Minimum packet size in bytes, unless the relay declares a lower limit. Smaller packets would spend too much of a
    /// slow path on what each event needs in addition.
    private static let leastPacket = 4_096
    /// Number of consecutive probe timeouts after which the path is silent.
    private static let silentProbes = 3
    /// Maximum number of ack-eliciting packets in flight.
    private static let maximumInFlight = 2_048

    /// - Parameters:
    ///   - id: The path's number.
    ///   - description: The relay and its limits.
    ///   - configuration: The limits of the session.
    ///   - peerTakes: Maximum packet size in bytes that the peer accepts.
    init(id: PathID, description: PathDescription, configuration: SharedSessionConfiguration, peerTakes: UInt64) {
        self.id = id
        self.description = description
        self.shared = configuration
        let values = configuration.value
        self.rtt = RTTEstimator(initial: values.initialRTT, granularity: values.granularity)
        self.sizer = Self.sizer(description, peerTakes)
        self.congestion = CongestionController(maximum: values.maximumCongestionWindow)
        self.congestion.setPacket(self.packetSize)
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

    /// Maximum size in bytes of a packet that is not a probe for a larger size.
    var packetSize: Int { self.sizer.sizeOfNext(waiting: 0, limit: self.sizeLimit) }

    /// Maximum size in bytes of a packet that shows whether the path is alive. It is not larger than what the relay is known
    /// to deliver, so that its loss has no other reason.
    var probeSize: Int { min(self.packetSize, max(self.sizer.confirmed, Self.leastPacket)) }

    /// Maximum size in bytes of the next packet if `bytes` bytes are waiting to be sent.
    func sizeOfNext(waiting bytes: Int) -> Int { self.sizer.sizeOfNext(waiting: bytes, limit: self.sizeLimit) }

    /// The largest size in bytes that occupies the path for at most ``packetTime``. If the relay limits the number of events,
    /// smaller packets would only carry less.
    private var sizeLimit: Int {
        if self.pacer.rate != nil { return SessionConfiguration.largestPacket }
        let rate = self.congestion.expectedRate(rtt: self.rtt.smoothed)
        return max(Self.leastPacket, Int(min(rate * Self.packetTime, Double(SessionConfiguration.largestPacket))))
    }

    /// Updates the path after it was connected again, possibly to another relay with the same URL.
    mutating func update(_ description: PathDescription, peerTakes: UInt64) {
        self.description = description
        if self.health == .down { self.forgetNetwork() }
        let sizer = Self.sizer(description, peerTakes)
        self.sizer.reconnected(base: sizer.base, largest: sizer.largest)
        self.congestion.setPacket(self.packetSize)
    }

    /// Forgets what was measured, because the new connection may use another network (RFC 9000, section 9.4).
    private mutating func forgetNetwork() {
        self.rtt = RTTEstimator(initial: self.configuration.initialRTT, granularity: self.configuration.granularity)
        self.congestion = CongestionController(maximum: self.configuration.maximumCongestionWindow)
        self.packetPacer = PacketPacer()
        self.forward = MinimumRTT()
        // The next packets are probes, and say nothing about the rate.
        self.sent.becameAppLimited()
        self.firstNumber = self.sent.nextNumber
    }

    /// Records that the relay rejected a packet because of its rate limit.
    mutating func wasRateLimited(_ number: UInt64, at now: NIODeadline) {
        self.pacer.rejected(sentAt: self.sent[number]?.sentAt ?? now, at: now)
    }

    /// Records that the relay rejected a packet. Returns true if the packet's size is the likely reason.
    mutating func wasRefused(_ number: UInt64) -> Bool {
        guard let packet = self.sent[number], self.sizer.refused(size: packet.size) else { return false }
        self.congestion.setPacket(self.packetSize)
        return true
    }

    /// Whether the congestion window allows another packet.
    var hasRoom: Bool {
        self.sent.bytesInFlight < self.congestion.window && self.sent.elicitingInFlight < Self.maximumInFlight
    }

    /// Whether a packet without data may be sent now.
    func canAnswer(at now: NIODeadline) -> Bool {
        self.health != .down && self.isWritable && self.pacer.wait(at: now) == nil
    }

    /// Whether a packet with data may be sent now.
    func canCarry(at now: NIODeadline) -> Bool {
        self.health == .active && self.isWritable && self.hasRoom && self.wait(at: now) == nil
    }

    /// When both pacers allow the next packet with data. Nil if they allow it now.
    func wait(at now: NIODeadline) -> NIODeadline? {
        guard let packet = self.packetPacer.wait(at: now) else { return self.pacer.wait(at: now) }
        return max(packet, self.pacer.wait(at: now) ?? packet)
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
        guard isAckEliciting else { return }
        if self.health == .active { self.probeDue = nil }
        self.packetPacer.sent(size, rate: self.congestion.pacingRate, at: now)
        self.lastElicitingSent = now
    }

    /// Records that there was less to send than the path could carry.
    mutating func becameAppLimited() { self.sent.becameAppLimited() }

    // MARK: Acknowledgements

    /// The result of processing an ACK frame.
    struct AcknowledgementResult {
        /// The frames of newly acknowledged packets.
        var frames: [SessionFrame] = []
        /// Whether any packet was newly acknowledged.
        var isNew = false
        /// The size of the newly acknowledged packets in bytes.
        var bytes = 0
    }

    /// Processes an ACK frame. Returns nil if it acknowledges a packet that was never sent.
    ///
    /// - Parameters:
    ///   - acknowledgement: The frame.
    ///   - returnDelay: The one-way delay in nanoseconds of the path on which the frame came, if that is another one.
    ///   - now: The current time.
    mutating func acknowledged(
        _ acknowledgement: SessionFrame.Acknowledgement,
        returnDelay: Int64?,
        at now: NIODeadline
    ) -> AcknowledgementResult? {
        guard let largest = acknowledgement.ranges.first?.upperBound, largest < self.sent.nextNumber else { return nil }
        var result = AcknowledgementResult()
        var newestEliciting: SentPacket?
        for range in acknowledgement.ranges {
            let known = Range(range).clamped(to: self.sent.numbers)
            for number in known {
                guard let packet = self.sent.acknowledge(number) else { continue }
                result.isNew = true
                if case .lost = packet.state { self.lossWasSpurious(packet, at: now) }
                self.sizer.acknowledged(number, size: packet.size)
                result.frames += packet.frames
                guard packet.isAckEliciting, number >= self.firstNumber else { continue }
                if newestEliciting.map({ $0.number < number }) ?? true { newestEliciting = packet }
                result.bytes += packet.size
            }
        }
        guard result.isNew else {
            self.trim(at: now)
            return result
        }
        if let newestEliciting {
            self.lastAcknowledgement = now
            // The time of a packet that was declared lost is that of a pause, perhaps of an earlier connection.
            let isLargest = newestEliciting.number == largest && newestEliciting.isInFlight
            if isLargest {
                let delay = TimeAmount.microseconds(Int64(min(acknowledgement.delay, 1_000_000)))
                self.rtt.update(now - newestEliciting.sentAt, delay: delay, at: now)
                self.measureForward(returnDelay: returnDelay, at: now)
            }
            let sample = self.sent.deliveryRate(
                result.bytes,
                newest: newestEliciting,
                minimumRTT: self.rtt.minimum ?? .zero,
                at: now
            )
            self.congestion.acknowledged(
                result.bytes,
                sample: sample,
                rtt: isLargest ? self.rtt.latest : nil,
                delivered: self.sent.deliveredBytes,
                inFlight: self.sent.bytesInFlight,
                at: now
            )
        }
        self.congestion.setPacket(self.packetSize)
        self.probeCount = 0
        self.probeDue = nil
        self.hasProbedAgain = false
        self.isDeserted = false
        self.trim(at: now)
        return result
    }

    /// Measures the one-way delay after a sample of the RTT.
    private mutating func measureForward(returnDelay: Int64?, at now: NIODeadline) {
        guard let whole = self.rtt.latest?.nanoseconds else { return }
        let delay = returnDelay.map { $0 < whole ? whole - $0 : whole / 2 } ?? whole / 2
        if self.forward.isOutdated(at: now) {
            self.forward.replace(by: delay, at: now)
        } else {
            self.forward.add(.nanoseconds(delay), at: now)
        }
    }

    private mutating func lossWasSpurious(_ packet: SentPacket, at now: NIODeadline) {
        // Only a spurious loss by the time threshold increases the threshold, at most once per round trip.
        if packet.wasLostByTime, self.lastSpurious.map({ $0 + self.rtt.smoothed <= now }) ?? true {
            self.lastSpurious = now
            self.rtt.lossWasSpurious(at: now)
        }
        self.congestion.lossWasSpurious(sentAt: packet.sentAt)
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
        var bytes = 0
        var frames: [SessionFrame] = []
        for number in self.sent.numbers {
            guard let packet = self.sent[number], self.sent.isOvertaken(number), packet.sentAt <= deadline else {
                break
            }
            guard packet.isInFlight else { continue }
            let isProbe = self.sizer.isProbe(packet.number)
            frames += self.markLost(packet.number, isByTime: !isProbe, at: now)
            // The packet may have been lost because of its size, so it is not a sign of congestion.
            if isProbe { continue }
            newest = packet.sentAt
            bytes += packet.size
            self.rtt.lossWasReal()
        }
        if let newest { self.congestion.lost(bytes, sentAt: newest, at: now) }
        return frames
    }

    /// When ``detectLosses(at:)`` must be called next; nil if no packet can be declared lost by time.
    var lossDeadline: NIODeadline? { self.sent.oldestOvertaken.map { $0.sentAt + self.rtt.lossDelay } }

    /// When the path must be probed; nil if no probe is needed.
    ///
    /// - Parameter isAlone: Whether no other path is active. Then the time starts with the last packet (RFC 9002, section
    ///   6.2.1). Otherwise it starts when the path last showed that it delivers, so that what was sent on it meanwhile is
    ///   soon sent on another one.
    func probeDeadline(isAlone: Bool) -> NIODeadline? {
        // Nothing is sent between paced events.
        self.probeTime(isAlone: isAlone).map { self.pacer.wait(at: $0) ?? $0 }
    }

    private func probeTime(isAlone: Bool) -> NIODeadline? {
        switch self.health {
        case .down: return nil
        case .probing: return self.probeDue
        case .active:
            guard let oldest = self.sent.oldestInFlight else { return self.probeDue }
            let start = isAlone ? self.lastElicitingSent : max(oldest.sentAt, self.lastAcknowledgement)
            let timeout = self.rtt.probeTimeout(
                acknowledgementDelay: self.acknowledgementDelay,
                transfer: self.transferTime(self.sent.bytesInFlight)
            )
            let due = start + .nanoseconds(timeout.nanoseconds << Int64(min(self.probeCount, Self.silentProbes)))
            return self.probeDue.map { min($0, due) } ?? due
        }
    }

    /// Handles a probe timeout. Returns the frames to send again.
    ///
    /// A TCP connection that lost a segment delivers nothing for a while, and then everything. So the packets in flight are
    /// declared lost only after ``silentProbes`` timeouts.
    ///
    /// - Parameters:
    ///   - isAlone: Whether no other path is active. Then the probe carries what the oldest packet in flight carried.
    ///   - now: The current time.
    mutating func probeTimedOut(isAlone: Bool, at now: NIODeadline) -> [SessionFrame] {
        // A probe because a packet arrived is no sign that the path is silent.
        let isEarly = self.health == .active && self.probeDue.map { $0 <= now } ?? false
        self.probeDue = nil
        if isEarly, self.probeCount == 0 { return [] }
        if !isEarly { self.probeCount += 1 }
        guard self.health == .active, self.probeCount < Self.silentProbes else {
            if self.probeCount == Self.silentProbes { self.congestion.pathIsSilent() }
            self.health = .probing
            return self.loseAll(at: now)
        }
        guard isAlone, let oldest = self.sent.oldestReinjectable else { return [] }
        // A PING alone shows whether the connection is alive, and then nothing was lost.
        guard self.probeCount > 1 || oldest.size <= Self.leastPacket else { return [] }
        self.markReinjected(oldest.number)
        return oldest.frames
    }

    /// Probes a path soon that has been silent, because a packet arrived on it. It probably also works in the other
    /// direction.
    mutating func heard(at now: NIODeadline) {
        self.isDeserted = false
        if self.health == .active {
            // Once in a silence.
            guard self.probeCount > 0, !self.hasProbedAgain, self.sent.elicitingInFlight > 0 else { return }
            self.hasProbedAgain = true
        } else if self.health == .down {
            return
        }
        let next = max(now, self.lastElicitingSent + self.rtt.smoothed)
        self.probeDue = min(self.probeDue ?? next, next)
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
        self.congestion.setPacket(self.packetSize)
        return packet.frames
    }
}
