//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// A path of a session: the packets in both directions, and the RTT, congestion window, event rate and health.
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
    var isWritable = true
    var rtt: RTTEstimator
    /// When a loss was last found to be spurious.
    private var lastSpurious: NIODeadline?
    var congestion: CongestionController
    var pacer = EventPacer()
    var received = ReceivedPackets()
    private(set) var sizer: PacketSizer

    private(set) var nextNumber: UInt64 = 0
    /// Number of packets that were declared lost. Some of them may have arrived later.
    private(set) var lostPackets: UInt64 = 0
    /// All packets from the oldest one that may still be acknowledged or lost, without gaps in the numbers.
    private(set) var sent: Deque<SentPacket> = []
    private(set) var bytesInFlight = 0
    /// Number of ack-eliciting packets in flight.
    private(set) var elicitingInFlight = 0
    private(set) var largestAcknowledged: UInt64?
    private(set) var lastElicitingSent = NIODeadline.uptimeNanoseconds(0)
    /// Bytes sent since the last packet that contained IMMEDIATE_ACK.
    private var bytesSinceAsking = 0
    /// Number of consecutive probe timeouts (RFC 9002: pto_count).
    var probeCount = 0
    /// When the next probe is due while the path is in the state `probing`.
    var probeDue: NIODeadline?
    /// Whether the relay reported that the peer is not subscribed, and no packet has arrived or been acknowledged on
    /// this path since.
    var isDeserted = false
    /// When a PING was last sent with an acknowledgement. It allows a path that sends only acknowledgements to be
    /// measured.
    var lastPing = NIODeadline.uptimeNanoseconds(0)

    /// Number of probe timeouts for which lost packets are kept.
    private static let lostLifetime: Int64 = 3
    /// Maximum number of packets that are kept, unless the oldest is still in flight.
    private static let maximumSent = 8_192
    /// Maximum number of ack-eliciting packets in flight.
    private static let maximumInFlight = 2_048

    /// - Parameters:
    ///   - id: The path's number.
    ///   - description: The relay and its limits.
    ///   - configuration: The limits of the session.
    ///   - peerTakes: Maximum packet size in bytes that the peer accepts.
    init(id: PathID, description: PathDescription, configuration: SessionConfiguration, peerTakes: UInt64) {
        self.id = id
        self.description = description
        self.rtt = RTTEstimator(initial: configuration.initialRTT, granularity: configuration.granularity)
        self.sizer = Self.sizer(description, peerTakes)
        self.congestion = CongestionController(
            packet: self.sizer.size,
            maximum: configuration.maximumCongestionWindow
        )
    }

    private static func sizer(_ description: PathDescription, _ peerTakes: UInt64) -> PacketSizer {
        let largest = min(SessionConfiguration.largestPacket, Int(clamping: peerTakes))
        return PacketSizer(
            base: min(description.maximumPlaintext, SessionConfiguration.basePacket, largest),
            largest: min(description.largestPlaintext, largest)
        )
    }

    /// Maximum size in bytes of a packet that is not a probe for a larger size.
    var packetSize: Int { self.sizer.size }

    /// Updates the path after it was connected again, possibly to another relay with the same URL.
    mutating func update(_ description: PathDescription, peerTakes: UInt64) {
        self.description = description
        let sizer = Self.sizer(description, peerTakes)
        self.sizer.reconnected(base: sizer.base, largest: sizer.largest)
        self.congestion.setPacket(self.packetSize)
    }

    /// Records that the relay rejected a packet. Returns true if the packet's size is the likely reason.
    mutating func wasRefused(_ number: UInt64) -> Bool {
        guard let index = self.index(of: number), self.sizer.refused(size: self.sent[index].size) else { return false }
        self.congestion.setPacket(self.packetSize)
        return true
    }

    private func index(of number: UInt64) -> Int? {
        guard let first = self.sent.first?.number, number >= first, number - first < UInt64(self.sent.count) else {
            return nil
        }
        return Int(number - first)
    }

    /// Whether the congestion window allows another packet.
    var hasRoom: Bool {
        self.bytesInFlight < self.congestion.window && self.elicitingInFlight < Self.maximumInFlight
    }

    /// Whether a packet with data may be sent now.
    func canCarry(at now: NIODeadline) -> Bool {
        self.health == .active && self.isWritable && self.hasRoom && self.pacer.wait(at: now) == nil
    }

    // MARK: Sending

    /// Returns whether a packet of `size` bytes should contain IMMEDIATE_ACK: half of the window was sent since the
    /// last packet that did.
    ///
    /// An acknowledgement is a separate event and costs about as much as a packet of 16 KiB. Two acknowledgements per
    /// window are enough to keep the path busy. A packet that fills the window requests one only if no other packet in
    /// flight does.
    mutating func shouldAsk(size: Int) -> Bool {
        let fills = self.bytesInFlight + size >= self.congestion.window
        if fills { self.congestion.becameLimited() }
        self.bytesSinceAsking += size
        let isAlone = fills && self.bytesSinceAsking >= self.bytesInFlight + size
        guard isAlone || self.bytesSinceAsking >= self.congestion.window / 2 else { return false }
        self.bytesSinceAsking = 0
        return true
    }

    /// Records a sent packet and increments the packet number.
    mutating func record(size: Int, isAckEliciting: Bool, frames: [SessionFrame], at now: NIODeadline) {
        self.sent.append(
            SentPacket(
                number: self.nextNumber,
                sentAt: now,
                size: size,
                isAckEliciting: isAckEliciting,
                frames: frames
            )
        )
        self.sizer.sent(self.nextNumber, size: size)
        self.nextNumber += 1
        self.pacer.sent(at: now)
        if isAckEliciting {
            self.bytesInFlight += size
            self.elicitingInFlight += 1
            self.lastElicitingSent = now
        }
        while self.sent.count > Self.maximumSent, let first = self.sent.first,
            first.state != .inFlight || !first.isAckEliciting
        {
            self.sent.removeFirst()
        }
    }

    // MARK: Acknowledgements

    /// The result of processing an ACK frame.
    struct AcknowledgementResult {
        /// The frames of newly acknowledged packets.
        var frames: [SessionFrame] = []
        /// Whether any packet was newly acknowledged.
        var isNews = false
        /// The size of the newly acknowledged packets in bytes.
        var bytes = 0
    }

    /// Processes an ACK frame. Returns nil if it acknowledges a packet that was never sent.
    mutating func acknowledged(
        _ acknowledgement: SessionFrame.Acknowledgement,
        at now: NIODeadline
    ) -> AcknowledgementResult? {
        guard let largest = acknowledgement.ranges.first?.upperBound, largest < self.nextNumber else { return nil }
        var result = AcknowledgementResult()
        guard let first = self.sent.first?.number else { return result }
        var newestEliciting: (number: UInt64, sentAt: NIODeadline)?
        for range in acknowledgement.ranges {
            guard range.upperBound >= first else { break }
            for number in max(first, range.lowerBound)...range.upperBound {
                let index = Int(number - first)
                guard index < self.sent.count else { break }
                let packet = self.sent[index]
                guard packet.state != .acknowledged else { continue }
                result.isNews = true
                if case .lost = packet.state {
                    // Only a spurious loss by the time threshold increases the threshold, at most once per round trip.
                    if packet.wasLostByTime, self.lastSpurious.map({ $0 + self.rtt.smoothed <= now }) ?? true {
                        self.lastSpurious = now
                        self.rtt.lossWasSpurious()
                    }
                    self.congestion.lossWasSpurious(sentAt: packet.sentAt)
                } else if packet.isAckEliciting {
                    self.bytesInFlight -= packet.size
                    self.elicitingInFlight -= 1
                }
                if packet.isAckEliciting, newestEliciting.map({ $0.number < number }) ?? true {
                    newestEliciting = (number, packet.sentAt)
                }
                self.sizer.acknowledged(number, size: packet.size)
                result.frames += packet.frames
                result.bytes += packet.size
                self.sent[index].state = .acknowledged
                self.sent[index].frames = []
            }
        }
        guard result.isNews else {
            self.trim(at: now)
            return result
        }
        self.largestAcknowledged = max(self.largestAcknowledged ?? 0, largest)
        self.congestion.setPacket(self.packetSize)
        self.congestion.delivered(result.bytes)
        if let newestEliciting, newestEliciting.number == largest {
            let sample = now - newestEliciting.sentAt
            let delay = TimeAmount.microseconds(Int64(min(acknowledgement.delay, 1_000_000)))
            self.rtt.update(sample, delay: delay)
            self.congestion.acknowledged(
                sentAt: newestEliciting.sentAt,
                rtt: self.rtt.latest ?? sample,
                at: now
            )
        }
        self.probeCount = 0
        self.isDeserted = false
        self.trim(at: now)
        return result
    }

    /// Removes packets at the front that need no further handling.
    private mutating func trim(at now: NIODeadline) {
        let lifetime = self.rtt.probeTimeout(acknowledgementDelay: .zero).nanoseconds * Self.lostLifetime
        while let first = self.sent.first {
            switch first.state {
            case .acknowledged: break
            case .lost(let at) where at + .nanoseconds(lifetime) <= now: break
            case .inFlight where !first.isAckEliciting && first.number < self.largestAcknowledged ?? 0: break
            case .lost, .inFlight: return
            }
            self.sent.removeFirst()
        }
    }

    // MARK: Loss

    /// Declares packets lost by the time threshold. Returns their frames, oldest first.
    mutating func detectLosses(at now: NIODeadline) -> [SessionFrame] {
        guard let largest = self.largestAcknowledged else { return [] }
        let deadline = now - self.rtt.lossDelay
        var newest: NIODeadline?
        var bytes = 0
        var frames: [SessionFrame] = []
        for index in self.sent.indices {
            let packet = self.sent[index]
            guard packet.number < largest, packet.sentAt <= deadline else { break }
            guard packet.state == .inFlight, packet.isAckEliciting else { continue }
            let isProbe = self.sizer.isProbe(packet.number)
            frames += self.markLost(index, at: now)
            // The packet may have been lost because of its size, so it is not a sign of congestion.
            if isProbe { continue }
            newest = packet.sentAt
            bytes += packet.size
            self.sent[index].wasLostByTime = true
            self.rtt.lossWasReal()
        }
        if let newest { self.congestion.lost(bytes, sentAt: newest, at: now) }
        return frames
    }

    /// When ``detectLosses(at:)`` must be called next; nil if no packet can be declared lost by time.
    var lossDeadline: NIODeadline? {
        guard let largest = self.largestAcknowledged else { return nil }
        for packet in self.sent {
            guard packet.number < largest else { return nil }
            if packet.state == .inFlight, packet.isAckEliciting { return packet.sentAt + self.rtt.lossDelay }
        }
        return nil
    }

    /// When the path must be probed; nil if no probe is needed.
    func probeDeadline(acknowledgementDelay: TimeAmount) -> NIODeadline? {
        switch self.health {
        case .down: return nil
        case .probing: return self.probeDue
        case .active:
            guard self.elicitingInFlight > 0 else { return nil }
            return self.lastElicitingSent + self.rtt.probeTimeout(acknowledgementDelay: acknowledgementDelay)
        }
    }

    /// Declares all packets in flight lost because the path was removed or is silent. This is not treated as
    /// congestion. Returns their frames.
    mutating func loseAll(at now: NIODeadline) -> [SessionFrame] {
        var frames: [SessionFrame] = []
        for index in self.sent.indices where self.sent[index].state == .inFlight && self.sent[index].isAckEliciting {
            frames += self.markLost(index, at: now)
        }
        return frames
    }

    /// Declares a packet lost because the relay did not accept it. Returns its frames.
    mutating func lose(_ number: UInt64, at now: NIODeadline) -> [SessionFrame] {
        guard let index = self.index(of: number), self.sent[index].state == .inFlight else { return [] }
        guard self.sent[index].isAckEliciting else {
            self.sent[index].state = .lost(at: now)
            return []
        }
        return self.markLost(index, at: now)
    }

    private mutating func markLost(_ index: Int, at now: NIODeadline) -> [SessionFrame] {
        self.lostPackets += 1
        self.sizer.lost(self.sent[index].number, size: self.sent[index].size)
        self.congestion.setPacket(self.packetSize)
        self.sent[index].state = .lost(at: now)
        self.bytesInFlight -= self.sent[index].size
        self.elicitingInFlight -= 1
        return self.sent[index].frames
    }
}
