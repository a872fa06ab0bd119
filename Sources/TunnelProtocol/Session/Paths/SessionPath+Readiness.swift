//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// What a path can carry now, how large its packets are, and when something is due on it.
extension SessionPath {
    /// How long a packet may occupy the path. Small messages wait behind it.
    private static let packetTime = 0.02
    /// Maximum packet size in bytes on a path that has delivered fewer than ``firstBytes``.
    private static let firstPacket = 16_384
    private static let firstBytes: UInt64 = 64 << 10
    /// Minimum RTT in nanoseconds of a path whose relay is not in the same network.
    private static let remoteRTT: Int64 = 3_000_000
    /// Bytes per second of a path from which the processors are likely to limit it.
    private static let processorRate = 80e6
    /// Maximum number of ack-eliciting packets in flight.
    private static let maximumInFlight = 2_048

    // MARK: Packet size

    /// Maximum size in bytes of a packet that is not a probe for a larger size.
    @inline(__always)
    var packetSize: Int { self.sizer.sizeOfNext(waiting: 0, limit: self.sizeLimit) }

    /// Maximum size in bytes of a packet that shows whether the path is alive. It is not larger than what the relay is known
    /// to deliver, so that its loss has no other reason.
    var probeSize: Int {
        self.isDirect ? self.sizer.base : min(self.packetSize, max(self.sizer.confirmed, Self.leastPacket))
    }

    /// Maximum size in bytes of the next packet if `bytes` bytes are waiting to be sent.
    @inline(__always)
    func sizeOfNext(waiting bytes: Int) -> Int { self.sizer.sizeOfNext(waiting: bytes, limit: self.sizeLimit) }

    /// The largest size in bytes that occupies the path for at most ``packetTime``. If the relay limits the number of events,
    /// smaller packets would only carry less.
    @inline(__always)
    private var sizeLimit: Int {
        // Datagrams are small anyway.
        if self.pacer.isLimited || self.isDirect { return SessionConfiguration.largestPacket }
        let isNew = !self.congestion.isMeasured && self.sent.deliveredBytes - self.firstDelivered < Self.firstBytes
        let most = isNew ? Self.firstPacket : SessionConfiguration.largestPacket
        return max(Self.leastPacket, Int(min(self.model.expectedRate * Self.packetTime, Double(most))))
    }

    /// Whether the network limits the path, and not the processors: its relay is not in the same network, and it is not faster than
    /// what they can do. Unknown paths are taken for limited ones.
    var isLimitedByNetwork: Bool {
        guard let minimum = self.congestion.minimumRTT.nanoseconds else { return true }
        return minimum >= Self.remoteRTT && self.model.expectedRate < Self.processorRate
    }

    // MARK: Readiness

    /// Whether the congestion window allows another packet.
    @inline(__always)
    var hasRoom: Bool {
        self.sent.bytesInFlight < self.congestion.window && self.sent.elicitingInFlight < Self.maximumInFlight
    }

    /// Whether a packet without data may be sent now.
    func canAnswer(at now: NIODeadline) -> Bool {
        self.health != .down && self.isWritable && self.pacer.wait(at: now) == nil
    }

    /// Whether a packet with data may be sent now.
    @inline(__always)
    func canCarry(at now: NIODeadline) -> Bool {
        self.health == .active && self.isWritable && self.hasRoom && self.wait(at: now) == nil
    }

    /// When both pacers allow the next packet with data. Nil if they allow it now.
    @inline(__always)
    func wait(at now: NIODeadline) -> NIODeadline? {
        guard let packet = self.model.packetPacer.wait(at: now) else { return self.pacer.wait(at: now) }
        return max(packet, self.pacer.wait(at: now) ?? packet)
    }

    // MARK: Deadlines

    /// When ``detectLosses(at:)`` must be called next; nil if no packet can be declared lost by time.
    var lossDeadline: NIODeadline? { self.sent.oldestOvertaken.map { $0.sentAt + self.rtt.lossDelay } }

    /// When the path must be probed; nil if no probe is needed.
    ///
    /// - Parameter isAlone: Whether no other path is active.
    func probeDeadline(isAlone: Bool) -> NIODeadline? {
        // Nothing is sent between paced events.
        self.probeTime(isAlone: isAlone).map { self.pacer.wait(at: $0) ?? $0 }
    }

    private func probeTime(isAlone: Bool) -> NIODeadline? {
        switch self.health {
        case .down: return nil
        case .probing: return self.probe.due
        case .active:
            let timeout = self.rtt.probeTimeout(
                acknowledgementDelay: self.acknowledgementDelay,
                transfer: self.model.transferTime(self.sent.bytesInFlight)
            )
            return self.probe.deadline(oldest: self.sent.oldestInFlight?.sentAt, isAlone: isAlone, timeout: timeout)
        }
    }
}
