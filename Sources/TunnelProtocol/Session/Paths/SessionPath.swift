//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// One relay of a session: its packets both ways, round trip, window, pace and health.
struct SessionPath: Sendable {
    /// What the path is good for.
    enum Health: Hashable, Sendable {
        /// There is no connection to the relay.
        case down
        /// Connected, and nothing is known to pass: only probes go out.
        case probing
        /// Carries data.
        case active
    }

    let id: PathID
    var description: PathDescription
    var health = Health.down
    var isWritable = true
    var rtt: RTTEstimator
    /// When a loss last proved to be none.
    private var lastSpurious: NIODeadline?
    var congestion: CongestionController
    var pacer = EventPacer()
    var received = ReceivedPackets()
    private(set) var sizer: PacketSizer

    private(set) var nextNumber: UInt64 = 0
    /// Packets that counted as lost, some of which arrived after all.
    private(set) var lostPackets: UInt64 = 0
    /// Everything from the oldest packet of which something may still be heard.
    private(set) var sent: Deque<SentPacket> = []
    private(set) var bytesInFlight = 0
    /// Ack-eliciting packets under way.
    private(set) var elicitingInFlight = 0
    private(set) var largestAcknowledged: UInt64?
    private(set) var lastElicitingSent = NIODeadline.uptimeNanoseconds(0)
    /// Bytes since the last packet that asked for an acknowledgement at once.
    private var bytesSinceAsking = 0
    /// Probe time-outs in a row.
    var probeCount = 0
    /// When the next probe of a path that is not active is due.
    var probeDue: NIODeadline?
    /// The relay said that nobody listens there for the peer, and nothing was acknowledged since.
    var isDeserted = false
    /// When an acknowledgement last carried a question of its own, so that a path that only answers is measured too.
    var lastPing = NIODeadline.uptimeNanoseconds(0)

    /// Packets that count as lost are remembered for as many probe time-outs.
    private static let lostLifetime: Int64 = 3
    /// Most packets that are remembered.
    private static let maximumSent = 8_192
    /// Most ack-eliciting packets under way, however small.
    private static let maximumInFlight = 2_048

    /// - Parameter peerTakes: Most bytes of a packet that the peer takes.
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

    /// Most bytes of a packet.
    var packetSize: Int { self.sizer.size }

    /// The path is connected again, and perhaps to another relay behind the same name.
    mutating func update(_ description: PathDescription, peerTakes: UInt64) {
        self.description = description
        let sizer = Self.sizer(description, peerTakes)
        self.sizer.reconnected(base: sizer.base, largest: sizer.largest)
        self.congestion.setPacket(self.packetSize)
    }

    /// The relay refused a packet. True if for its size, as far as one can tell.
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

    /// Whether the window has room for another packet.
    var hasRoom: Bool {
        self.bytesInFlight < self.congestion.window && self.elicitingInFlight < Self.maximumInFlight
    }

    /// Whether a packet with data may go out.
    func canCarry(at now: NIODeadline) -> Bool {
        self.health == .active && self.isWritable && self.hasRoom && self.pacer.wait(at: now) == nil
    }

    // MARK: Sending

    /// Whether a packet of `size` bytes should ask for its acknowledgement at once: half of the window went out since the
    /// last that asked.
    ///
    /// An acknowledgement is an event of its own, and costs about as much as a packet of 16 KiB. Two for each window keep
    /// the line busy; the one that fills it asks only where no other under way does.
    mutating func shouldAsk(size: Int) -> Bool {
        let fills = self.bytesInFlight + size >= self.congestion.window
        if fills { self.congestion.becameLimited() }
        self.bytesSinceAsking += size
        let isAlone = fills && self.bytesSinceAsking >= self.bytesInFlight + size
        guard isAlone || self.bytesSinceAsking >= self.congestion.window / 2 else { return false }
        self.bytesSinceAsking = 0
        return true
    }

    /// Enters a packet and counts its number up.
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

    /// What an acknowledgement brought.
    struct AcknowledgementResult {
        /// Frames that arrived, each for the first time.
        var frames: [SessionFrame] = []
        /// Whether it acknowledges anything new.
        var isNews = false
        /// Bytes of the packets.
        var bytes = 0
    }

    /// The peer has these packets. Nil if it claims one that was never sent.
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
                    // Only the clock's own mistake makes it slower, once for a round trip.
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

    /// Forgets packets of which nothing more is to be heard.
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

    /// Finds packets that count as lost by time. Returns their frames, oldest first.
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
            // It may have been its size.
            if isProbe { continue }
            newest = packet.sentAt
            bytes += packet.size
            self.sent[index].wasLostByTime = true
            self.rtt.lossWasReal()
        }
        if let newest { self.congestion.lost(bytes, sentAt: newest, at: now) }
        return frames
    }

    /// When ``detectLosses(at:)`` may find something.
    var lossDeadline: NIODeadline? {
        guard let largest = self.largestAcknowledged else { return nil }
        for packet in self.sent {
            guard packet.number < largest else { return nil }
            if packet.state == .inFlight, packet.isAckEliciting { return packet.sentAt + self.rtt.lossDelay }
        }
        return nil
    }

    /// When the path is probed because nothing is acknowledged.
    func probeDeadline(acknowledgementDelay: TimeAmount) -> NIODeadline? {
        switch self.health {
        case .down: return nil
        case .probing: return self.probeDue
        case .active:
            guard self.elicitingInFlight > 0 else { return nil }
            return self.lastElicitingSent + self.rtt.probeTimeout(acknowledgementDelay: acknowledgementDelay)
        }
    }

    /// Everything under way counts as lost: the path is gone, or silent. No word of congestion.
    mutating func loseAll(at now: NIODeadline) -> [SessionFrame] {
        var frames: [SessionFrame] = []
        for index in self.sent.indices where self.sent[index].state == .inFlight && self.sent[index].isAckEliciting {
            frames += self.markLost(index, at: now)
        }
        return frames
    }

    /// The relay did not take a packet. Returns its frames.
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
