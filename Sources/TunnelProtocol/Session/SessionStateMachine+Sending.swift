//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

extension SessionStateMachine {
    // MARK: Queues

    /// Queues a stream that has something to send. Streams that sent little in their last turn or have lost data go
    /// first.
    mutating func enqueue(_ id: StreamID, isUrgent: Bool = false, at now: Moment) {
        if self.queuedSince == nil { self.queuedSince = now.monotonic }
        guard let stream = self.streams[id], !stream.isQueued else { return }
        self.streams[id]?.isQueued = true
        if isUrgent || stream.lastTurn < Self.smallTurn {
            self.eager.append(id)
        } else {
            self.queued.append(id)
        }
    }

    /// A stream that sent fewer bytes than this in its last turn does not count as a bulk transfer.
    private static let smallTurn = 4_096
    /// Maximum number of streams among which a packet is divided. Each frame costs the receiver a system call.
    private static let mostInTurn = 4
    /// Minimum size of a turn in bytes.
    private static let leastTurn = 1_024
    /// Maximum size in bytes of a packet that is sent although the congestion window is full, and of all such packets
    /// together. They keep small messages from waiting a round trip behind a bulk transfer.
    private static let urgentPacket = 4_096
    private static let urgentBytes = 64 << 10
    /// Maximum number of packets per call, except urgent ones. Sealing a packet takes time, and received events must
    /// not wait for a whole window.
    private static let packetsPerTurn = 1

    private var hasSomethingToSend: Bool {
        !self.control.isEmpty || !self.eager.isEmpty || !self.queued.isEmpty
    }

    // MARK: Sending

    /// Sends packets as far as the windows, the pacers and ``packetsPerTurn`` allow, and acknowledgements that are
    /// due.
    mutating func pump(at now: Moment) {
        guard !self.isClosed else { return }
        self.renewSessionCredit()
        var packets = 0
        self.mustGoOn = false
        while self.hasSomethingToSend, let index = self.pathForData(at: now), self.isWorthSending(on: index, at: now) {
            guard packets < Self.packetsPerTurn else {
                self.mustGoOn = true
                break
            }
            guard self.sendPacket(on: index, carriesData: true, at: now) else { break }
            packets += 1
        }
        while self.hasUrgentWord, let index = self.pathForUrgentWord(at: now) {
            guard self.sendPacket(on: index, carriesData: true, isUrgent: true, at: now) else { break }
        }
        // Waiting data always needs a start time. Without it, no timer would send the data when the pacer allows it.
        if !self.hasSomethingToSend {
            self.queuedSince = nil
        } else if self.queuedSince == nil {
            self.queuedSince = now.monotonic
        }
        self.sendAcknowledgements(at: now)
    }

    /// Whether control frames or a small amount of data of an eager stream wait to be sent.
    private var hasUrgentWord: Bool {
        if !self.control.isEmpty { return true }
        guard let id = self.eager.first else { return false }
        return self.streams[id].map { $0.send.waitingBytes <= Self.urgentPacket } ?? true
    }

    /// The fastest path whose window is full but not exceeded by ``urgentBytes``.
    private func pathForUrgentWord(at now: Moment) -> Int? {
        self.paths.indices.filter { index in
            let path = self.paths[index]
            return path.health == .active && path.isWritable && path.pacer.wait(at: now.monotonic) == nil
                && !path.hasRoom && path.bytesInFlight < path.congestion.window + Self.urgentBytes
        }.min { self.paths[$0].rtt.smoothed < self.paths[$1].rtt.smoothed }
    }

    /// The fastest path that can carry data now.
    private func pathForData(at now: Moment) -> Int? {
        self.paths.indices.filter { self.paths[$0].canCarry(at: now.monotonic) }
            .min { self.paths[$0].rtt.smoothed < self.paths[$1].rtt.smoothed }
    }

    /// Whether to send now instead of waiting for more data: control frames wait, no packet is in flight on the path,
    /// a packet is full, or the coalescing delay has ended.
    private func isWorthSending(on index: Int, at now: Moment) -> Bool {
        let path = self.paths[index]
        return !self.control.isEmpty || path.elicitingInFlight == 0 || self.queuedBytes >= path.packetSize
            || self.coalescingDeadline.map { $0 <= now.monotonic } ?? true
    }

    /// When waiting bytes are sent even if they do not fill a packet.
    var coalescingDeadline: NIODeadline? { self.queuedSince.map { $0 + self.configuration.coalescing } }

    /// Builds and publishes one packet. Returns false if there was nothing to send.
    @discardableResult
    mutating func sendPacket(
        on index: Int,
        carriesData: Bool,
        isProbe: Bool = false,
        isUrgent: Bool = false,
        at now: Moment
    ) -> Bool {
        let size =
            isUrgent
            ? min(Self.urgentPacket, self.paths[index].packetSize)
            : self.paths[index].sizer.sizeOfNext(waiting: carriesData ? self.queuedBytes : 0)
        var packet = ByteBuffer()
        packet.reserveCapacity(min(size, self.queuedBytes + 2_048))
        SessionPacketHeader(path: self.paths[index].id, number: self.paths[index].nextNumber)
            .encode(isFromExit: self.isExit, into: &packet)
        let acknowledges = self.writeAcknowledgements(into: &packet, size: size, on: index, at: now)
        var frames: [SessionFrame] = []
        if isProbe {
            SessionFrame.ping.encode(into: &packet)
            frames.append(.ping)
        }
        if carriesData {
            self.writeControl(into: &packet, size: size, &frames)
            self.writeStreams(into: &packet, size: size, &frames, onlyEager: isUrgent, at: now)
        }
        guard acknowledges || !frames.isEmpty else { return false }
        if !frames.isEmpty, self.paths[index].shouldAsk(size: packet.readableBytes), packet.readableBytes < size {
            SessionFrame.immediateAcknowledgement.encode(into: &packet)
        }
        self.publish(packet, frames, on: index, at: now)
        return true
    }

    private mutating func publish(_ packet: ByteBuffer, _ frames: [SessionFrame], on index: Int, at now: Moment) {
        let token = Self.token(self.paths[index].id, self.paths[index].nextNumber)
        self.paths[index].record(
            size: packet.readableBytes,
            isAckEliciting: !frames.isEmpty,
            frames: frames,
            at: now.monotonic
        )
        self.generationBytes += UInt64(packet.readableBytes)
        if !frames.isEmpty, self.unansweredSince == nil { self.unansweredSince = now.monotonic }
        if self.hasSomethingToSend { self.queuedSince = now.monotonic }
        self.actions.append(
            .publish(
                token,
                plaintext: Array(packet.readableBytesView),
                // Dated with the current time. Relays reject old events, and a retransmission is a new event.
                createdAt: now.seconds,
                paths: [self.paths[index].id]
            )
        )
    }

    /// Encodes a packet's path and number as a token.
    static func token(_ path: PathID, _ number: UInt64) -> MessageToken {
        MessageToken(rawValue: UInt64(path.rawValue) << 56 | number & (1 << 56 - 1))
    }

    static func packet(of token: MessageToken) -> (path: PathID, number: UInt64) {
        (PathID(rawValue: Int(token.rawValue >> 56)), token.rawValue & (1 << 56 - 1))
    }

    /// Writes the pending acknowledgements of all paths. Returns whether any was written.
    private mutating func writeAcknowledgements(
        into packet: inout ByteBuffer,
        size: Int,
        on index: Int,
        at now: Moment
    ) -> Bool {
        var hasWritten = false
        for other in self.paths.indices where self.paths[other].received.deadline != nil {
            // A probe is acknowledged on its own path, so that the path's own round-trip time is measured. If that is
            // not possible now, another path is used.
            if other != index, self.paths[other].received.mustAnswerHere, self.canAnswer(on: other, at: now),
                !self.acknowledgesEverywhere
            {
                continue
            }
            guard
                let acknowledgement = self.paths[other].received.acknowledgement(
                    of: self.paths[other].id,
                    fitting: size - packet.readableBytes,
                    at: now.monotonic
                )
            else { continue }
            let frame = SessionFrame.acknowledgement(acknowledgement)
            frame.encode(into: &packet)
            self.paths[other].received.acknowledgementWasSent()
            hasWritten = true
        }
        return hasWritten
    }

    private mutating func writeControl(into packet: inout ByteBuffer, size: Int, _ frames: inout [SessionFrame]) {
        var identity = self.isExit || self.identityIsKnown ? nil : self.identity.map(SessionFrame.identity)
        while let frame = self.control.first {
            if case .openStream(let id, _) = frame, self.streams[id]?.phase != .requested {
                // The stream was reset before its request was sent. The exit answers a reset of an unknown stream.
                self.control.removeFirst()
                continue
            }
            let introduction: SessionFrame? = if case .openStream = frame { identity } else { nil }
            guard packet.readableBytes + frame.maximumLength + (introduction?.maximumLength ?? 0) < size else { return }
            if let introduction {
                // Both frames go into one packet, because packets may be reordered.
                introduction.encode(into: &packet)
                frames.append(introduction)
                identity = nil
            }
            self.control.removeFirst()
            frame.encode(into: &packet)
            frames.append(frame)
        }
    }

    private mutating func writeStreams(
        into packet: inout ByteBuffer,
        size: Int,
        _ frames: inout [SessionFrame],
        onlyEager: Bool,
        at now: Moment
    ) {
        let competing = min(Self.mostInTurn, max(1, self.eager.count + self.queued.count))
        let turn = max(Self.leastTurn, size / competing)
        while packet.readableBytes + SessionFrame.streamOverhead + 1 < size {
            guard let id = self.eager.popFirst() ?? (onlyEager ? nil : self.queued.popFirst()) else { return }
            guard var stream = self.streams[id] else { continue }
            stream.isQueued = false
            // Removes the stored value, because shared buffers would be copied on modification.
            self.streams[id] = nil
            let waiting = stream.send.waitingBytes
            var taken = 0
            var isBlocked = false
            while taken < turn {
                let room = min(turn - taken, size - packet.readableBytes - SessionFrame.streamOverhead - 1)
                guard room > 0 else { break }
                let credit = Int(min(UInt64(room), self.sendLimit - min(self.sendLimit, self.sentData)))
                let before = stream.send.sentOffset
                guard let chunk = stream.send.next(limit: room, allowance: credit) else {
                    isBlocked = credit == 0 && stream.send.allowance > 0
                    break
                }
                let new = Int(stream.send.sentOffset - before)
                self.sentData += UInt64(new)
                if new > 0, stream.isWithDriver { self.actions.append(.credit(id, new)) }
                let frame = SessionFrame.stream(
                    id,
                    offset: chunk.offset,
                    data: chunk.data,
                    isFinal: chunk.isFinal
                )
                frame.encode(into: &packet)
                frames.append(frame)
                taken += chunk.data.readableBytes + 1
            }
            self.queuedBytes -= waiting - stream.send.waitingBytes
            stream.lastTurn = taken
            if taken > 0 { stream.lastActivity = now.monotonic }
            let hasMore = stream.send.hasLost || stream.send.allowance > 0 || stream.send.hasUnsentEnd
            if isBlocked {
                self.blocked.append(id)
                stream.isQueued = true
            } else if hasMore {
                self.queued.append(id)
                stream.isQueued = true
            }
            self.streams[id] = stream
        }
    }

    // MARK: Acknowledgements

    /// Sends acknowledgements that are due and were not sent with other frames.
    mutating func sendAcknowledgements(at now: Moment) {
        for index in self.paths.indices {
            guard let due = self.paths[index].received.deadline, due <= now.monotonic else { continue }
            if self.acknowledgesEverywhere {
                let carriers = self.paths.indices.filter { self.canAnswer(on: $0, at: now) }
                for other in carriers {
                    self.paths[index].received.hurry(at: now.monotonic)
                    self.sendAcknowledgement(on: other, of: index, isLast: false, at: now)
                }
                if !carriers.isEmpty { self.paths[index].received.acknowledgementWasSent() }
            } else if let carrier = self.carrierOfAcknowledgement(of: index, at: now) {
                self.sendAcknowledgement(on: carrier, of: index, isLast: true, at: now)
            }
        }
    }

    private mutating func sendAcknowledgement(on carrier: Int, of index: Int, isLast: Bool, at now: Moment) {
        let received = self.paths[index].received
        // A side that sends only acknowledgements adds a PING at most once per second, to learn whether they arrive.
        let asks =
            received.unacknowledged >= self.configuration.acknowledgementThreshold / 2
            && self.paths[carrier].lastPing + .seconds(1) <= now.monotonic
        if asks { self.paths[carrier].lastPing = now.monotonic }
        self.sendPacket(on: carrier, carriesData: false, isProbe: asks, at: now)
        if !isLast { self.paths[index].received = received }
    }

    private func canAnswer(on index: Int, at now: Moment) -> Bool {
        let path = self.paths[index]
        return path.health != .down && path.isWritable && path.pacer.wait(at: now.monotonic) == nil
    }

    /// Returns the path for acknowledgements of packets on path `index`: the same path for a probe if possible,
    /// otherwise the fastest usable path.
    func carrierOfAcknowledgement(of index: Int, at now: Moment) -> Int? {
        if self.paths[index].received.mustAnswerHere, self.canAnswer(on: index, at: now) { return index }
        let usable = self.paths.indices.filter { self.canAnswer(on: $0, at: now) }
        let active = usable.filter { self.paths[$0].health == .active }
        return (active.isEmpty ? usable : active)
            .min { self.paths[$0].rtt.smoothed < self.paths[$1].rtt.smoothed }
    }

    // MARK: Close

    mutating func sendClose(_ reason: StreamEnd?, on index: Int, at now: Moment) {
        var packet = ByteBuffer()
        SessionPacketHeader(path: self.paths[index].id, number: self.paths[index].nextNumber)
            .encode(isFromExit: self.isExit, into: &packet)
        SessionFrame.connectionClose(code: reason?.code ?? 0, reason: "").encode(into: &packet)
        self.publish(packet, [], on: index, at: now)
    }
}
