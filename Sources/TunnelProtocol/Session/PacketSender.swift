//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Builds packets: decides when one is sent, on which path, and what it carries.
struct PacketSender: Sendable {
    private let isExit: Bool
    private let shared: SharedSessionConfiguration
    private var configuration: SessionConfiguration { self.shared.value }
    /// When the current wait for sending started, or nil if nothing waits.
    private var waitingSince: NIODeadline?
    /// Whether ``send(_:_:_:)`` must be called again without delay, because it sent as many packets as it may.
    private var hasMore = false
    private var sent = Sent()

    /// What was sent since ``takeSent()`` was last called.
    struct Sent {
        var bytes = 0
        var packets = 0
        var isAckEliciting = false
    }

    /// What a packet carries.
    private enum Content: Hashable {
        /// Control frames and stream data.
        case data
        /// Stream data except small messages, which wait for a faster path.
        case bulkData
        /// Control frames and a small amount of stream data. The packet is sent although the congestion window is full,
        /// so that small messages do not wait a round trip behind a bulk transfer.
        case urgentData
        /// A PING, with data or without.
        case probe(withData: Bool)
        /// Acknowledgements only.
        case acknowledgements

        var hasPing: Bool { self == .probe(withData: true) || self == .probe(withData: false) }
        /// The streams that may use the packet.
        var selection: SendScheduler.Selection {
            switch self {
            case .bulkData: .bulk
            case .urgentData: .smallMessages
            case .data, .probe, .acknowledgements: .all
            }
        }
        var hasData: Bool { self != .acknowledgements && self != .probe(withData: false) }
    }

    /// Maximum number of packets per call, except urgent ones. Sealing a packet takes time, and received events must
    /// not wait for a whole window.
    private static let packetsPerTurn = 1
    /// The same on the direct path, whose packets are small and cost one system call together.
    private static let datagramsPerTurn = 44
    /// A side that sends only acknowledgements adds a PING at most once in this time, to learn whether they arrive.
    private static let pingInterval: TimeAmount = .seconds(1)
    /// If more bytes wait, they are a part of a transfer, and more will follow soon.
    private static let bulk = 16 << 10
    /// Maximum size in bytes of a packet that is sent although the congestion window is full.
    private static let urgentPacket = SendScheduler.smallMessage

    init(role: SessionStateMachine.Role, configuration: SharedSessionConfiguration) {
        self.isExit = role == .exit
        self.shared = configuration
    }

    mutating func takeSent() -> Sent {
        defer { self.sent = Sent() }
        return self.sent
    }

    // MARK: Time

    /// When ``send(_:_:_:)`` must be called: at once, at the end of the coalescing delay, or later if the pacers require
    /// it. Nil if nothing waits.
    func nextDeadline(_ paths: PathSet, _ streams: StreamSet, _ context: SessionContext) -> NIODeadline? {
        if self.hasMore { return self.waitingSince }
        guard self.canSend(streams, context), let coalescingDeadline = self.coalescingDeadline(streams, context) else {
            return nil
        }
        // The choice of a path depends on the time, so a deadline that has passed is of no use.
        let due = max(coalescingDeadline, context.now.monotonic)
        let urgent = self.hasUrgent(streams, context) ? paths.urgentDeadline(due) : nil
        guard streams.scheduler.hasBulk(streams.table),
            let bulk = paths.sendDeadline(due, streams.demand(hasOnePath: paths.indices.count == 1))
        else { return urgent }
        return urgent.map { min($0, bulk) } ?? bulk
    }

    private func canSend(_ streams: StreamSet, _ context: SessionContext) -> Bool {
        !context.control.isEmpty || !streams.scheduler.isEmpty
    }

    /// When waiting bytes are sent even if they do not fill a packet.
    private func coalescingDeadline(_ streams: StreamSet, _ context: SessionContext) -> NIODeadline? {
        let isBulk = streams.scheduler.waitingBytes > Self.bulk && !self.hasUrgent(streams, context)
        let wait = isBulk ? self.configuration.bulkCoalescing : self.configuration.coalescing
        return self.waitingSince.map { $0 + wait }
    }

    /// Lets the driver add more before the next packet is sent. The deadline is then now.
    mutating func sendLater(at now: NIODeadline) {
        if self.waitingSince == nil { self.waitingSince = now }
        self.hasMore = true
    }

    /// Sends packets as far as the windows, the pacers and ``packetsPerTurn`` allow, and acknowledgements that are due.
    mutating func send(_ paths: inout PathSet, _ streams: inout StreamSet, _ context: inout SessionContext) {
        let now = context.now.monotonic
        streams.renewCredit(&context)
        // Waiting data always needs a start time. Without it, no timer would send the data when the pacer allows it.
        if self.waitingSince == nil, self.canSend(streams, context) { self.waitingSince = now }
        var packets = 0
        self.hasMore = false
        while self.hasUrgent(streams, context), let index = paths.forUrgentData(at: now),
            !paths[index].canCarry(at: now)
        {
            guard self.sendPacket(.urgentData, on: index, &paths, &streams, &context) else { break }
        }
        while self.canSend(streams, context), let (index, content) = self.pathForData(paths, streams, context),
            self.isWorthSending(on: index, paths, streams, context)
        {
            guard packets < (paths[index].isDirect ? Self.datagramsPerTurn : Self.packetsPerTurn) else {
                self.hasMore = true
                break
            }
            guard self.sendPacket(content, on: index, &paths, &streams, &context) else { break }
            packets += 1
        }
        if !self.canSend(streams, context) { self.waitingSince = nil }
        self.sendAcknowledgements(&paths, &streams, &context)
        // Last, because an acknowledgement may have been sent with a PING, which counts as in flight.
        if !self.hasMore { paths.becameAppLimited(nothingWaits: !self.canSend(streams, context), at: now) }
    }

    /// Whether control frames or a small message are next.
    private func hasUrgent(_ streams: StreamSet, _ context: SessionContext) -> Bool {
        !context.control.isEmpty || streams.scheduler.hasSmallMessage(streams.table)
    }

    /// The path for the next packet, and what it carries. What is urgent takes only the fastest path.
    private func pathForData(
        _ paths: PathSet,
        _ streams: StreamSet,
        _ context: SessionContext
    ) -> (index: Int, content: Content)? {
        let now = context.now.monotonic
        let isUrgent = self.hasUrgent(streams, context)
        if isUrgent, let index = paths.forUrgentData(at: now), paths[index].canCarry(at: now) { return (index, .data) }
        guard streams.scheduler.hasBulk(streams.table),
            let index = paths.forData(streams.demand(hasOnePath: paths.indices.count == 1), at: now)
        else { return nil }
        return (index, isUrgent ? .bulkData : .data)
    }

    /// Whether to send now instead of waiting for more data: control frames wait, no packet is in flight on the path,
    /// a packet is full, or the coalescing delay has ended.
    private func isWorthSending(
        on index: Int,
        _ paths: PathSet,
        _ streams: StreamSet,
        _ context: SessionContext
    ) -> Bool {
        !context.control.isEmpty || paths[index].sent.elicitingInFlight == 0
            || streams.scheduler.waitingBytes >= paths[index].packetSize
            || self.coalescingDeadline(streams, context).map { $0 <= context.now.monotonic } ?? true
    }

    /// Sends a PING on the fastest path.
    mutating func sendKeepAlive(_ paths: inout PathSet, _ streams: inout StreamSet, _ context: inout SessionContext) {
        guard let index = paths.forKeepAlive(at: context.now.monotonic) else { return }
        self.sendPacket(.probe(withData: true), on: index, &paths, &streams, &context)
    }

    /// Sends a packet that must be acknowledged on its path. It carries data if no other path is active.
    mutating func sendProbe(
        on index: Int,
        _ paths: inout PathSet,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        if paths[index].canAnswer(at: context.now.monotonic) {
            let withData = paths.probeCarriesData(index)
            self.sendPacket(.probe(withData: withData), on: index, &paths, &streams, &context)
        }
        paths.scheduleProbe(of: index, at: context.now.monotonic)
    }

    /// Sends acknowledgements that are due and were not sent with other frames.
    private mutating func sendAcknowledgements(
        _ paths: inout PathSet,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        let now = context.now.monotonic
        for index in paths.indices {
            guard let due = paths[index].received.deadline, due <= now else { continue }
            if paths.acknowledgesEverywhere {
                let received = paths[index].received
                for carrier in paths.forAcknowledgements(at: now) {
                    paths[index].received = received
                    paths[index].received.hurry(at: now)
                    self.sendAcknowledgement(of: index, on: carrier, &paths, &streams, &context)
                }
            } else if let carrier = paths.forAcknowledgement(of: index, at: now) {
                self.sendAcknowledgement(of: index, on: carrier, &paths, &streams, &context)
            }
        }
    }

    private mutating func sendAcknowledgement(
        of index: Int,
        on carrier: Int,
        _ paths: inout PathSet,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) {
        let now = context.now.monotonic
        let asks =
            paths[index].received.unacknowledged >= self.configuration.acknowledgementThreshold / 2
            && paths[carrier].lastPing + Self.pingInterval <= now
        if asks { paths[carrier].lastPing = now }
        self.sendPacket(asks ? .probe(withData: false) : .acknowledgements, on: carrier, &paths, &streams, &context)
    }

    /// Tells the peer on all paths that the session ends. Paths that are paced are left out.
    mutating func sendClose(_ reason: StreamEnd?, _ paths: inout PathSet, _ context: inout SessionContext) {
        let now = context.now.monotonic
        let connected = paths.indices.filter { paths[$0].health != .down }
        let ready = connected.filter { paths[$0].pacer.wait(at: now) == nil }
        // If all relays limit the rate, one event more is better than a peer that waits for its timeout.
        for index in ready.isEmpty ? Array(connected.prefix(1)) : ready {
            var packet = self.packet(on: paths[index].id, paths[index].sent.nextNumber)
            SessionFrame.connectionClose(code: reason?.code ?? 0, reason: "").encode(into: &packet)
            self.publish(packet, [], on: &paths[index], &context)
        }
    }

    // MARK: Packets

    /// Returns a packet with its header. Datagrams have the path and the number themselves.
    private func packet(on path: PathID, _ number: UInt64, capacity: Int = 0) -> ByteBuffer {
        var packet = ByteBuffer()
        packet.reserveCapacity(capacity)
        if path != .direct {
            SessionPacketHeader(path: path, number: number).encode(isFromExit: self.isExit, into: &packet)
        }
        return packet
    }

    /// Builds and publishes one packet. Returns false if there was nothing to send.
    @discardableResult
    private mutating func sendPacket(
        _ content: Content,
        on index: Int,
        _ paths: inout PathSet,
        _ streams: inout StreamSet,
        _ context: inout SessionContext
    ) -> Bool {
        let waiting = streams.scheduler.waitingBytes
        let size =
            switch content {
            case .urgentData: min(Self.urgentPacket, paths[index].packetSize)
            case .probe: paths[index].probeSize
            default: paths[index].sizeOfNext(waiting: content.hasData ? waiting : 0)
            }
        var packet = self.packet(
            on: paths[index].id,
            paths[index].sent.nextNumber,
            capacity: min(size, waiting + 2_048)
        )
        let acknowledges = paths.writeAcknowledgements(into: &packet, size: size, on: index, at: context.now.monotonic)
        var frames: [SessionFrame] = []
        if content.hasPing {
            SessionFrame.ping.encode(into: &packet)
            frames.append(.ping)
        }
        if content.hasData {
            if content != .bulkData {
                context.control.write(into: &packet, size: size, &frames, streams: streams)
            }
            streams.write(into: &packet, size: size, content.selection, &frames, &context)
        }
        guard acknowledges || !frames.isEmpty else { return false }
        if !frames.isEmpty, paths[index].shouldAsk(size: packet.readableBytes), packet.readableBytes < size {
            SessionFrame.immediateAcknowledgement.encode(into: &packet)
        }
        self.publish(packet, frames, on: &paths[index], &context)
        if self.canSend(streams, context) { self.waitingSince = context.now.monotonic }
        return true
    }

    private mutating func publish(
        _ packet: ByteBuffer,
        _ frames: [SessionFrame],
        on path: inout SessionPath,
        _ context: inout SessionContext
    ) {
        let token = MessageToken(path: path.id, number: path.sent.nextNumber)
        let size = packet.readableBytes
        path.record(size: size, isAckEliciting: !frames.isEmpty, frames: frames, at: context.now.monotonic)
        self.sent.bytes += size
        self.sent.packets += 1
        if !frames.isEmpty { self.sent.isAckEliciting = true }
        context.actions.append(
            .publish(
                token,
                plaintext: packet,
                // Dated with the current time. Relays reject old events, and a retransmission is a new event.
                createdAt: context.now.seconds,
                paths: [path.id],
                compresses: path.isLimitedByNetwork
            )
        )
    }
}
