//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
public import NIOCore

extension SessionStateMachine {
    public mutating func receive(
        _ plaintext: [UInt8],
        createdAt: Int64,
        generation: Int,
        path: PathID,
        at now: Moment
    ) {
        guard !self.isClosed else { return }
        guard plaintext.count <= SessionConfiguration.largestPacket else {
            self.actions.append(.report(.malformedMessage))
            return
        }
        var buffer = ByteBuffer(bytes: plaintext)
        let header: SessionPacketHeader
        let frames: [SessionFrame]
        do {
            header = try SessionPacketHeader(&buffer, isFromExit: !self.isExit)
            frames = try SessionFrame.decodeAll(buffer)
        } catch {
            self.actions.append(.report(error == .wrongDirection ? .reflected : .malformedMessage))
            return
        }
        // A packet that was copied to another relay gives no information about the path in its header.
        guard header.path == path, let index = self.index(of: path) else {
            self.actions.append(.report(.wrongPath))
            return
        }
        guard !self.paths[index].received.isRepeated(header.number) else {
            self.actions.append(.report(.repeatedPacket))
            return
        }
        self.paths[index].received.insert(header.number, at: now.monotonic)
        self.heardPeer(on: index, generation: generation, at: now)
        if !self.isExit { self.generationBytes += UInt64(plaintext.count) }
        // Only one acknowledgement per path is allowed, because each may cover thousands of packets.
        var acknowledged: UInt32 = 0
        for frame in frames {
            if case .acknowledgement(let acknowledgement) = frame {
                // The decoder accepts at most 16 paths.
                let bit = UInt32(1) << UInt32(acknowledgement.path.rawValue)
                guard acknowledged & bit == 0 else {
                    self.violation(at: now)
                    return
                }
                acknowledged |= bit
            }
            self.receive(frame, on: index, at: now)
            if self.isClosed { return }
        }
        if frames.contains(where: \.isAckEliciting) {
            self.paths[index].received.wantAcknowledgement(
                within: self.configuration.acknowledgementDelay,
                threshold: self.configuration.acknowledgementThreshold,
                here: frames.contains(.ping),
                at: now.monotonic
            )
            if frames.contains(.immediateAcknowledgement) { self.paths[index].received.hurry(at: now.monotonic) }
        }
        self.pump(at: now)
    }

    /// Maximum number of queued control frames. Above it, a reset of an unknown stream is not answered.
    private var maximumControl: Int { 1_024 + 8 * self.configuration.maximumStreams }

    private mutating func heardPeer(on index: Int, generation: Int, at now: Moment) {
        self.lastHeard = now.monotonic
        if !self.isConfirmed {
            self.isConfirmed = true
            for other in self.paths.indices where self.paths[other].health == .probing {
                self.paths[other].probeDue = now.monotonic
            }
        }
        self.paths[index].isDeserted = false
        self.unansweredSince = nil
        self.nextQuestion = nil
        self.questions = 0
        // A path that delivers packets probably also works in the other direction, so it is probed soon.
        if self.paths[index].health == .probing {
            let path = self.paths[index]
            let next = max(now.monotonic, path.lastElicitingSent + path.rtt.smoothed)
            self.paths[index].probeDue = min(path.probeDue ?? next, next)
        }
        self.heardGeneration(generation, at: now)
    }

    private mutating func receive(_ frame: SessionFrame, on index: Int, at now: Moment) {
        switch frame {
        case .ping, .immediateAcknowledgement: break
        case .acknowledgement(let acknowledgement): self.receiveAcknowledgement(acknowledgement, at: now)
        case .resetStream(let id, let code, let finalSize):
            self.receiveReset(id, StreamEnd(code: code), finalSize: finalSize, at: now)
        case .stopSending(let id, let code):
            self.resetLocally(id, StreamEnd(code: code), tellDriver: true, stopsPeer: false)
        case .stream(let id, let offset, let data, let isFinal):
            self.receiveData(id, offset: offset, data, isFinal: isFinal, at: now)
        case .maximumData(let limit):
            guard limit > self.sendLimit else { return }
            self.sendLimit = limit
            // Blocked streams move to the end of the send queue.
            self.queued.append(contentsOf: self.blocked)
            self.blocked = []
            if self.queuedSince == nil { self.queuedSince = now.monotonic }
        case .maximumStreamData(let id, let limit):
            guard let known = self.streams[id]?.send.limit, limit > known else { return }
            self.streams[id]?.send.limit = limit
            if let stream = self.streams[id], stream.send.allowance > 0 { self.enqueue(id, at: now) }
        case .connectionClose(let code, _):
            self.becomeClosed(code == 0 ? nil : StreamEnd(code: code))
        case .openStream(let id, let request): self.receiveOpen(id, request, at: now)
        case .streamOpened(let id):
            guard !self.isExit, self.streams[id]?.phase == .requested else { return }
            self.requestedBecameOpen(id, at: now)
        case .keyUpdate(let generation, let key): self.receiveKey(generation, key, at: now)
        case .identity(let identity): self.receiveIdentity(identity, at: now)
        case .newPath(let offer): self.receivePathOffer(offer, at: now)
        }
    }

    /// Records the client's identity. A second, different identity is a protocol violation.
    private mutating func receiveIdentity(_ identity: ClientIdentity, at now: Moment) {
        guard self.isExit, self.identity == nil || self.identity == identity else {
            self.violation(at: now)
            return
        }
        guard self.identity == nil else { return }
        self.identity = identity
        self.actions.append(.signal(.identified(identity)))
    }

    /// Marks a stream as open after the exit connected its target (client).
    private mutating func requestedBecameOpen(_ id: StreamID, at now: Moment) {
        self.streams[id]?.phase = .open
        if !self.configuration.opensAtOnce { self.actions.append(.opened(id)) }
        self.becameOpen(id, at: now)
    }

    public mutating func receiveEarly(_ request: StreamRequest, _ data: ByteBuffer, at now: Moment) {
        let first = StreamID(rawValue: 1)
        guard self.isExit, self.streams.isEmpty, self.closedStreams.isEmpty,
            data.readableBytes <= self.configuration.initialStreamWindow
        else { return }
        self.receiveOpen(first, request, at: now)
        self.receiveData(first, offset: 0, data, isFinal: false, at: now)
    }

    /// Ends the session because the peer violated the protocol.
    mutating func violation(at now: Moment) {
        self.actions.append(.report(.protocolViolation))
        self.close(.protocolViolation, at: now)
    }

    // MARK: Streams

    private mutating func receiveOpen(_ id: StreamID, _ request: StreamRequest, at now: Moment) {
        guard self.isExit else {
            self.violation(at: now)
            return
        }
        guard self.ensureStream(id, at: now), self.streams[id]?.phase == .requested else { return }
        guard self.liveStreams < self.configuration.maximumStreams else {
            self.actions.append(.report(.tooManyStreams))
            self.streams[id]?.isWithDriver = false
            self.refuse(id, .tooManyStreams)
            return
        }
        self.liveStreams += 1
        self.streams[id]?.isWithDriver = true
        self.streams[id]?.phase = .dialling
        self.actions.append(.incoming(id, request))
        self.deliver(id)
    }

    /// Resets a stream that was never reported to the driver.
    private mutating func refuse(_ id: StreamID, _ reason: StreamEnd) {
        self.resetLocally(id, reason, tellDriver: false, stopsPeer: true)
    }

    /// Returns whether the stream exists. An exit creates it if necessary, because data may arrive before OPEN_STREAM.
    /// A stream that has ended is not created again.
    private mutating func ensureStream(_ id: StreamID, at now: Moment) -> Bool {
        if self.streams[id] != nil { return true }
        guard self.isExit, id.rawValue > 0, !self.closedStreams.contains(id.rawValue) else { return false }
        // Up to twice the limit, so that excess streams are reset individually. None of them buffers more than a
        // window.
        guard self.streams.count < 2 * self.configuration.maximumStreams,
            self.closedStreams.intervals.count < 2 * self.configuration.maximumStreams
        else {
            self.violation(at: now)
            return false
        }
        var stream = self.makeStream(id, phase: .requested, at: now)
        stream.isWithDriver = false
        self.streams[id] = stream
        return true
    }

    private mutating func receiveData(
        _ id: StreamID,
        offset: UInt64,
        _ data: ByteBuffer,
        isFinal: Bool,
        at now: Moment
    ) {
        guard self.ensureStream(id, at: now) else {
            if !self.isExit, id.rawValue > self.lastOpened { self.violation(at: now) }
            return
        }
        guard var receiving = self.streams[id]?.receive else { return }
        do {
            // Replaces the stored value, because shared storage would be copied on modification.
            self.streams[id]?.receive = ReceiveStream(window: 0)
            let grown = try receiving.insert(data, at: offset, isFinal: isFinal)
            self.receivedData += grown
            self.streams[id]?.receive = receiving
        } catch {
            self.violation(at: now)
            return
        }
        guard self.receivedData <= self.receiveLimit else {
            self.violation(at: now)
            return
        }
        self.streams[id]?.lastActivity = now.monotonic
        self.lastData = now.monotonic
        switch self.streams[id]?.phase {
        case .reset:
            self.consumedData += self.streams[id]?.receive.consumeAll() ?? 0
            self.removeIfOver(id)
        case .requested where !self.isExit:
            // The first bytes arrived before STREAM_OPENED.
            self.requestedBecameOpen(id, at: now)
            self.deliver(id)
        case .dialling, .open:
            self.deliver(id)
        case .requested, nil:
            break
        }
    }

    /// Delivers contiguous data to the driver.
    private mutating func deliver(_ id: StreamID) {
        guard self.streams[id]?.endAfterDelivery == nil else {
            self.consumedData += self.streams[id]?.receive.consumeAll() ?? 0
            return
        }
        while let data = self.streams[id]?.receive.next() {
            self.actions.append(.data(id, data))
        }
        guard self.streams[id]?.receive.takeEnd() == true else { return }
        self.streams[id]?.peerIsDone = true
        self.actions.append(.finished(id))
        self.removeIfOver(id)
    }

    private mutating func receiveReset(_ id: StreamID, _ reason: StreamEnd, finalSize: UInt64, at now: Moment) {
        if self.streams[id] == nil {
            guard self.isExit, id.rawValue > 0, !self.closedStreams.contains(id.rawValue),
                self.closedStreams.intervals.count < 2 * self.configuration.maximumStreams
            else { return }
            // OPEN_STREAM did not arrive. The bytes still count against the session's limit, and the client waits for
            // a reset of the exit's direction.
            _ = self.closedStreams.insert(id.rawValue)
            self.receivedData += min(finalSize, UInt64(self.configuration.initialStreamWindow))
            self.consumedData += min(finalSize, UInt64(self.configuration.initialStreamWindow))
            // The limit protects memory from a peer that causes answers without acknowledging them.
            if self.control.count < self.maximumControl {
                self.control.append(.resetStream(id, code: reason.code, finalSize: 0))
            }
            return
        }
        guard let grown = try? self.streams[id]?.receive.reset(at: finalSize) else {
            self.violation(at: now)
            return
        }
        self.receivedData += grown
        guard self.receivedData <= self.receiveLimit else {
            self.violation(at: now)
            return
        }
        self.consumedData += self.streams[id]?.receive.consumeAll() ?? 0
        self.streams[id]?.peerIsDone = true
        self.resetLocally(id, reason, tellDriver: true, stopsPeer: false)
        self.removeIfOver(id)
    }
}
