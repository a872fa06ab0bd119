//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

extension SessionStateMachine {
    func index(of path: PathID) -> Int? { self.paths.firstIndex { $0.id == path } }

    private var hasActivePath: Bool { self.paths.contains { $0.health == .active } }

    // MARK: Adding and removing

    public mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment) {
        guard !self.isClosed, (0..<SessionConfiguration.maximumPaths).contains(path.rawValue),
            description.maximumPlaintext >= SessionConfiguration.minimumPacket
        else { return }
        let index: Int
        if let known = self.index(of: path) {
            index = known
            self.paths[index].update(description, peerTakes: self.peer.maximumPacket)
        } else {
            index = self.paths.firstIndex { $0.id.rawValue > path.rawValue } ?? self.paths.count
            self.paths.insert(
                SessionPath(
                    id: path,
                    description: description,
                    configuration: self.configuration,
                    peerTakes: self.peer.maximumPacket
                ),
                at: index
            )
        }
        guard self.paths[index].health == .down else { return }
        self.paths[index].isWritable = true
        self.paths[index].probeCount = 0
        // Without another active path, the path is used immediately. Otherwise a probe must be acknowledged first.
        self.paths[index].health = self.hasActivePath ? .probing : .active
        // An exit sends no probe before it has received a packet from the client.
        if self.isConfirmed { self.sendProbe(on: index, at: now) }
        self.pump(at: now)
    }

    public mutating func removePath(_ path: PathID, at now: Moment) {
        guard let index = self.index(of: path), self.paths[index].health != .down else { return }
        self.paths[index].health = .down
        self.paths[index].probeDue = nil
        // Data in flight on the path is sent again on the other paths immediately.
        self.sendAgain(self.paths[index].loseAll(at: now.monotonic), at: now)
        self.pump(at: now)
    }

    /// Announces another relay to the client. The exit must already be subscribed there.
    public mutating func offerPath(_ offer: SessionPathOffer, at now: Moment) {
        guard !self.isClosed else { return }
        self.control.append(.newPath(offer))
        self.pump(at: now)
    }

    /// Handles a relay that the exit announced. The driver decides whether to connect to it.
    mutating func receivePathOffer(_ offer: SessionPathOffer, at now: Moment) {
        guard !self.isExit else {
            self.violation(at: now)
            return
        }
        self.actions.append(.signal(.pathOffered(offer)))
    }

    public mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment) {
        guard let index = self.index(of: path) else { return }
        self.paths[index].isWritable = isWritable
        if isWritable { self.pump(at: now) }
    }

    // MARK: Outcomes

    public mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment) {
        let (path, number) = Self.packet(of: token)
        guard !self.isClosed, let index = self.index(of: path) else { return }
        switch outcome {
        case .accepted:
            self.paths[index].pacer.accepted(at: now.monotonic)
            return
        case .rejected(.rateLimited):
            self.paths[index].pacer.refused(at: now.monotonic)
            self.actions.append(.report(.backedOff))
            self.sendAgain(self.paths[index].lose(number, at: now.monotonic), at: now)
        case .rejected(.noSubscriber):
            // The peer is not subscribed at this relay, or no longer.
            self.sendAgain(self.paths[index].lose(number, at: now.monotonic), at: now)
            self.doubt(index, at: now)
            self.paths[index].isDeserted = true
            // The peer may have restarted. It is then subscribed under its own key, not under the session's key.
            if self.nextQuestion == nil || self.hasRequests { self.askSooner(at: now) }
        case .rejected(.refused):
            let isForItsSize = self.paths[index].wasRefused(number)
            self.sendAgain(self.paths[index].lose(number, at: now.monotonic), at: now)
            if !isForItsSize { self.doubt(index, at: now) }
        case .rejected(.unreachable), .lost:
            self.sendAgain(self.paths[index].lose(number, at: now.monotonic), at: now)
        }
        self.pump(at: now)
    }

    /// Stops using a path for data until a probe is acknowledged.
    private mutating func doubt(_ index: Int, at now: Moment) {
        guard self.paths[index].health == .active else { return }
        self.paths[index].health = .probing
        self.sendAgain(self.paths[index].loseAll(at: now.monotonic), at: now)
        self.scheduleProbe(of: index, at: now)
    }

    // MARK: Acknowledgements and loss

    mutating func receiveAcknowledgement(_ acknowledgement: SessionFrame.Acknowledgement, at now: Moment) {
        guard let index = self.index(of: acknowledgement.path) else { return }
        guard let result = self.paths[index].acknowledged(acknowledgement, at: now.monotonic) else {
            // The peer acknowledged packets that were never sent.
            self.violation(at: now)
            return
        }
        guard result.isNews else { return }
        self.acknowledgesEverywhere = false
        if self.paths[index].health == .probing {
            self.paths[index].health = .active
            self.paths[index].probeDue = nil
        }
        for frame in result.frames { self.arrived(frame) }
        self.sendAgain(self.paths[index].detectLosses(at: now.monotonic), at: now)
    }

    private mutating func arrived(_ frame: SessionFrame) {
        switch frame {
        case .stream(let id, let offset, let data, let isFinal):
            self.streams[id]?.send.acknowledged(offset..<(offset + UInt64(data.readableBytes)), isFinal: isFinal)
            if self.streams[id]?.isOver == true { self.removeIfOver(id) }
            if let stream = self.streams[id], let reason = stream.endAfterDelivery, stream.send.isDelivered {
                self.resetLocally(id, reason, tellDriver: true, stopsPeer: true)
            }
        case .resetStream(let id, _, _):
            self.streams[id]?.resetWasAcknowledged = true
            self.removeIfOver(id)
        case .identity:
            self.identityIsKnown = true
        case .ping, .acknowledgement, .stopSending, .maximumData, .maximumStreamData, .connectionClose,
            .immediateAcknowledgement, .openStream, .streamOpened, .keyUpdate, .newPath:
            break
        }
    }

    /// Queues the frames of lost packets that are still needed, with current values.
    mutating func sendAgain(_ frames: [SessionFrame], at now: Moment) {
        for frame in frames {
            switch frame {
            case .stream(let id, let offset, let data, let isFinal):
                guard self.streams[id]?.phase != .reset, let before = self.streams[id]?.send.waitingBytes else {
                    continue
                }
                self.streams[id]?.send.lost(SendStream.Chunk(offset: offset, data: data, isFinal: isFinal))
                self.queuedBytes += (self.streams[id]?.send.waitingBytes ?? before) - before
                // Bytes that were sent before need no session credit, even if the stream waits for credit.
                if self.streams[id]?.isQueued == true, let place = self.blocked.firstIndex(of: id) {
                    self.blocked.remove(at: place)
                    self.streams[id]?.isQueued = false
                }
                self.enqueue(id, isUrgent: true, at: now)
            case .resetStream(let id, _, _):
                if self.streams[id]?.resetWasAcknowledged != true { self.control.append(frame) }
            case .stopSending(let id, _):
                if let stream = self.streams[id], stream.receive.finalSize == nil { self.control.append(frame) }
            case .maximumData:
                self.control.append(.maximumData(self.receiveLimit))
            case .maximumStreamData(let id, _):
                guard let stream = self.streams[id], stream.phase != .reset, stream.receive.finalSize == nil else {
                    continue
                }
                self.control.append(.maximumStreamData(id, stream.receive.limit))
            case .openStream(let id, _):
                if self.streams[id]?.phase == .requested { self.control.append(frame) }
            case .streamOpened(let id):
                if self.streams[id]?.phase == .open { self.control.append(frame) }
            case .keyUpdate(let generation, _):
                if generation >= UInt64(self.generation) { self.control.append(frame) }
            case .newPath: self.control.append(frame)
            // An identity is sent with every repeated OPEN_STREAM frame.
            case .ping, .acknowledgement, .connectionClose, .immediateAcknowledgement, .identity:
                break
            }
        }
    }

    // MARK: Probes

    /// Sends a packet that must be acknowledged on its path. It carries data if no other path is active.
    private mutating func sendProbe(on index: Int, at now: Moment) {
        if self.paths[index].isWritable {
            let carriesData = !self.paths.contains { $0.health == .active && $0.id != self.paths[index].id }
            self.sendPacket(on: index, carriesData: carriesData, isProbe: true, at: now)
        }
        if self.paths[index].health == .probing { self.scheduleProbe(of: index, at: now) }
    }

    /// Schedules the next probe. The interval doubles with each timeout. Its maximum is higher while another path is
    /// active.
    private mutating func scheduleProbe(of index: Int, at now: Moment) {
        let timeout = self.paths[index].rtt.probeTimeout(acknowledgementDelay: self.configuration.acknowledgementDelay)
        let (alone, beside) = self.configuration.probing
        let most = self.hasActivePath ? beside.nanoseconds : alone.nanoseconds
        let wait = min(most, timeout.nanoseconds << Int64(min(self.paths[index].probeCount, 16)))
        self.paths[index].probeDue = now.monotonic + .nanoseconds(max(self.configuration.granularity.nanoseconds, wait))
    }

    /// Handles a probe timeout: nothing was acknowledged on a path for too long (RFC 9002, section 6.2).
    mutating func probeTimedOut(_ index: Int, at now: Moment) {
        self.paths[index].probeCount += 1
        self.acknowledgesEverywhere = true
        if self.paths[index].probeCount > 2 { self.paths[index].congestion.pathIsSilent() }
        self.paths[index].health = .probing
        self.sendAgain(self.paths[index].loseAll(at: now.monotonic), at: now)
        self.sendProbe(on: index, at: now)
    }
}
