//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

extension NIP74StateMachine {
    // MARK: Publishing

    /// Publishes the queued data of a stream that may be sent now.
    mutating func pump(_ id: StreamID, at now: Moment) {
        while var stream = self.streams[id], !stream.sendQueue.isEmpty {
            guard stream.phase == .open, let path = self.paths[stream.path], path.isWritable,
                stream.inFlightBytes < self.configuration.inFlightBytes,
                !stream.inFlight.contains(where: { $0.status == .rejected })
            else { return }
            guard stream.notBefore <= now.monotonic else {
                self.schedule(id, at: now)
                return
            }
            guard let date = self.date(&stream, path, at: now) else {
                self.streams[id] = stream
                self.schedule(id, at: now)
                return
            }
            guard let data = stream.dequeue(Self.maximumData(on: path)) else { return }
            let isNew = stream.takeUncredited(data.readableBytes)
            if isNew > 0 { self.actions.append(.credit(id, isNew)) }
            let message = NIP74Message(
                key: stream.key,
                kind: stream.peerSaysData ? .data : .socks5Response,
                payload: .bytes(Array(data.readableBytesView)),
                destination: path.destination
            )
            stream.notBefore = now.monotonic + self.configuration.plainPacing
            let token = self.makeToken()
            stream.inFlight.append(NIP74Stream.InFlight(token: token, data: data))
            stream.inFlightBytes += data.readableBytes
            stream.lastPublished = now.monotonic
            stream.lastActivity = now.monotonic
            stream.lastDate = date
            self.streams[id] = stream
            self.tokenOwners[token] = id
            self.actions.append(
                .publish(token, plaintext: message.encoded(), createdAt: date, paths: self.targets(of: stream))
            )
        }
    }

    /// Returns the paths on which data is published. An entry uses all paths until the exit has answered, because it
    /// does not know to which relays the exit is connected. The exit drops duplicates.
    private func targets(of stream: NIP74Stream) -> [PathID] {
        guard self.isEntry, !stream.hasHeard else { return [stream.path] }
        return [stream.path] + self.paths.keys.filter { $0 != stream.path }.sorted { $0.rawValue < $1.rawValue }
    }

    /// Maximum number of data bytes in a message on a path.
    static func maximumData(on path: Path) -> Int {
        let plaintext = min(path.description.maximumPlaintext, NIP74Configuration.maximumPlaintext)
        let room = plaintext - NIP74Configuration.messageOverhead - path.destination.utf8.count
        return max(3, min(NIP74Configuration.maximumData, room / 4 * 3))
    }

    /// Returns the date of the stream's next message, or nil if messages in flight must be delivered first.
    ///
    /// Relays that sort a batch by date keep the order of ascending dates. Of messages that may be delivered in one
    /// batch, each is dated at least one second after the previous one, up to a limit. At the limit, everything must
    /// be delivered before dates start again from the current time.
    private func date(_ stream: inout NIP74Stream, _ path: Path, at now: Moment) -> Int64? {
        let limit = path.description.createdAtUpperLimit.map { $0 - NIP74Configuration.aheadMargin }
        let ahead = max(0, min(NIP74Configuration.maximumAhead, limit ?? NIP74Configuration.maximumAhead))
        let ceiling = now.seconds + Int64(ahead)
        // A reference entry requests only events since its own current time. An answer is therefore not dated before
        // the newest event of the entry, within the limit.
        let present = self.isEntry ? now.seconds : max(now.seconds, min(self.newestPeerDate, ceiling))
        let isDelivered =
            stream.inFlight.isEmpty
            && stream.lastMovement + self.configuration.deliveryHorizon <= now.monotonic
        if isDelivered {
            stream.isAtCeiling = false
            return present
        }
        let next = max(present, stream.lastDate + 1)
        guard next <= ceiling, !stream.isAtCeiling else {
            stream.isAtCeiling = true
            return nil
        }
        return next
    }

    /// Returns the date of a message that is not data. A reference entry requests only events since its own current
    /// time.
    func controlDate(after last: Int64 = 0, at now: Moment) -> Int64 {
        let ceiling = now.seconds + Int64(NIP74Configuration.maximumAhead)
        return max(now.seconds, last + 1, self.isEntry ? 0 : min(self.newestPeerDate, ceiling))
    }

    // MARK: Outcomes

    package mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment) {
        guard let id = self.tokenOwners.removeValue(forKey: token), let stream = self.streams[id] else { return }
        if case .connecting(token) = stream.phase {
            self.connectPublished(id, outcome, at: now)
            return
        }
        guard let index = stream.inFlight.firstIndex(where: { $0.token == token }) else { return }
        self.streams[id]?.lastAnswered = now.monotonic
        switch outcome {
        case .accepted:
            self.streams[id]?.inFlight[index].status = .accepted
            if stream.firstAccepted == nil { self.streams[id]?.firstAccepted = now.monotonic }
        case .rejected(.rateLimited):
            self.streams[id]?.inFlight[index].status = .rejected
        case .rejected(.noSubscriber), .rejected(.refused), .rejected(.unreachable):
            self.end(id, .relayRefused, tellPeer: true, at: now)
            return
        case .lost:
            self.end(id, .relayLost, tellPeer: true, at: now)
            return
        }
        self.settle(id, at: now)
    }

    private mutating func connectPublished(_ id: StreamID, _ outcome: PublishOutcome, at now: Moment) {
        switch outcome {
        case .accepted(let path):
            self.streams[id]?.path = path
            self.streams[id]?.phase = .waiting
            guard let stream = self.streams[id] else { return }
            // An offer has its own deadline, counted from the start of the stream. Without an offer, the reference
            // needs some time to process CONNECT.
            let deadline =
                stream.offer == nil ? now.monotonic + self.configuration.connectGrace : self.offerDeadline(of: stream)
            self.streams[id]?.phaseDeadline = deadline
            // CONNECT or the acceptance may be lost.
            if stream.offer != nil { self.repeatConnect(id, after: self.configuration.offerRepetition, at: now) }
            self.schedule(id, at: now)
        case .rejected(.noSubscriber):
            // The exit may be reconnecting to a relay that was restarted.
            guard let stream = self.streams[id],
                stream.startedAt + self.configuration.exitPatience > now.monotonic
            else {
                self.end(id, .exitSilent, tellPeer: false, at: now)
                return
            }
            self.streams[id]?.connectIsUnheard = true
            self.repeatConnect(id, after: self.configuration.connectRepetition, at: now)
        case .rejected(.rateLimited):
            self.actions.append(.report(.backedOff))
            self.streams[id]?.connectIsUnheard = true
            self.repeatConnect(id, after: self.configuration.backOff.first, at: now)
        case .rejected(.refused):
            self.end(id, .relayRefused, tellPeer: false, at: now)
        case .rejected(.unreachable), .lost:
            self.end(id, .noRelay, tellPeer: false, at: now)
        }
    }

    /// Schedules the publication of CONNECT as a new event, unless the exit answers first.
    private mutating func repeatConnect(_ id: StreamID, after wait: TimeAmount, at now: Moment) {
        self.streams[id]?.connectDue = now.monotonic + wait
        self.schedule(id, at: now)
    }

    /// Removes accepted messages. If the oldest was rejected and no message is pending, sends them again or ends the
    /// stream.
    private mutating func settle(_ id: StreamID, at now: Moment) {
        guard var stream = self.streams[id] else { return }
        while let first = stream.inFlight.first, first.status == .accepted {
            stream.inFlight.removeFirst()
            stream.inFlightBytes -= first.data.readableBytes
            stream.backOffs = 0
        }
        if stream.inFlight.first?.status == .rejected, stream.inFlight.allSatisfy({ $0.status != .pending }) {
            let laterWasTaken = stream.inFlight.contains { $0.status == .accepted }
            guard !laterWasTaken, stream.backOffs < NIP74Configuration.maximumBackOffs else {
                // A later message was accepted, so sending the rejected one again would change the order.
                self.streams[id] = stream
                self.end(id, .relayRefused, tellPeer: true, at: now)
                return
            }
            let (first, most) = self.configuration.backOff
            let wait = TimeAmount.nanoseconds(min(most.nanoseconds, first.nanoseconds << Int64(stream.backOffs)))
            stream.backOffs += 1
            stream.notBefore = now.monotonic + wait
            stream.requeueInFlight()
            self.actions.append(.report(.backedOff))
        }
        self.streams[id] = stream
        self.pump(id, at: now)
        self.schedule(id, at: now)
        self.checkEnd(id, at: now)
    }

    // MARK: Time

    /// Schedules the stream's next deadline.
    mutating func schedule(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        self.timers.schedule(.stream(id), at: self.deadline(of: stream, at: now))
    }

    private func deadline(of stream: NIP74Stream, at now: Moment) -> NIODeadline {
        var deadlines = [self.idleDeadline(of: stream)]
        if let deadline = stream.phaseDeadline { deadlines.append(deadline) }
        if let deadline = stream.plainCloseDue { deadlines.append(deadline) }
        if let deadline = stream.connectDue { deadlines.append(deadline) }
        // A path that is not writable needs no deadline, because ``pump(_:at:)`` is called when it becomes writable.
        if !stream.sendQueue.isEmpty, self.paths[stream.path]?.isWritable == true {
            if stream.notBefore > now.monotonic { deadlines.append(stream.notBefore) }
            if stream.isAtCeiling, stream.inFlight.isEmpty {
                let delivered = stream.lastMovement + self.configuration.deliveryHorizon
                if delivered > now.monotonic { deadlines.append(delivered) }
            }
        }
        return deadlines.min() ?? .distantFuture
    }

    private func idleDeadline(of stream: NIP74Stream) -> NIODeadline {
        let last = max(stream.lastHeard, stream.lastActivity)
        if let accepted = self.unansweredSince(stream) {
            return min(accepted + self.configuration.answerTimeout, last + self.configuration.idleTimeout)
        }
        // The reference's exit does not signal the end of its data. After the local side has finished, the stream
        // waits only for data in flight.
        return last + (stream.isFinished ? self.configuration.plainLinger : self.configuration.idleTimeout)
    }

    /// When a relay first accepted data that the exit has not answered yet (entry), or nil.
    private func unansweredSince(_ stream: NIP74Stream) -> NIODeadline? {
        self.isEntry && !stream.hasHeard ? stream.firstAccepted : nil
    }

    private func offerDeadline(of stream: NIP74Stream) -> NIODeadline {
        let (first, only) = self.configuration.offerPatience
        return stream.startedAt + (stream.mayFallBack ? first : only)
    }

    package mutating func timeout(at now: Moment) {
        // Timers that are scheduled in this call fire in the next call, even if they are already due.
        var due: [TimerKey] = []
        while let key = self.timers.popDue(now.monotonic) { due.append(key) }
        for key in due {
            switch key {
            case .orphans: self.expireOrphans(at: now)
            case .offers: self.expireOffers(at: now)
            case .stream(let id): self.serve(id, at: now)
            }
        }
    }

    /// Handles the deadlines of a stream that are due.
    private mutating func serve(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        if let deadline = stream.phaseDeadline, deadline <= now.monotonic {
            self.phaseTimedOut(id, stream, at: now)
            guard self.streams[id] != nil else { return }
        }
        if let due = stream.connectDue, due <= now.monotonic {
            self.streams[id]?.connectDue = nil
            let isUnanswered =
                switch stream.phase {
                case .connecting, .waiting: true
                case .dialling, .open: false
                }
            if isUnanswered { self.publishConnect(id, at: now) }
            guard self.streams[id] != nil else { return }
        }
        if let due = stream.plainCloseDue, due <= now.monotonic {
            self.sendPlainClose(id, stream, at: now)
            return
        }
        if self.idleDeadline(of: stream) <= now.monotonic {
            let reason: StreamEnd = self.unansweredSince(stream) == nil ? .idle : .exitSilent
            self.end(id, reason, tellPeer: true, at: now)
            return
        }
        self.pump(id, at: now)
        self.schedule(id, at: now)
    }

    private mutating func phaseTimedOut(_ id: StreamID, _ stream: NIP74Stream, at now: Moment) {
        switch stream.phase {
        case .connecting:
            self.end(id, .noRelay, tellPeer: false, at: now)
        case .waiting where stream.offer != nil && !stream.mayFallBack:
            self.end(id, .sessionRequired, tellPeer: false, at: now)
        case .waiting:
            // The exit did not answer. This is normal for the reference.
            if stream.offer != nil { self.actions.append(.report(.fellBackToPlain)) }
            self.streams[id]?.offer = nil
            self.becomeOpen(id, at: now)
        case .dialling, .open:
            self.streams[id]?.phaseDeadline = nil
        }
    }

    /// Opens a stream for data (entry).
    mutating func becomeOpen(_ id: StreamID, at now: Moment) {
        self.streams[id]?.phase = .open
        self.streams[id]?.phaseDeadline = nil
        self.actions.append(.opened(id))
        self.actions.append(.credit(id, self.configuration.sendBuffer))
        self.pump(id, at: now)
        self.schedule(id, at: now)
    }

    private mutating func sendPlainClose(_ id: StreamID, _ stream: NIP74Stream, at now: Moment) {
        self.actions.append(
            .publish(
                self.makeToken(),
                plaintext: NIP74Configuration.plainCloseMessage,
                // Dated after the last data, for relays that sort by date.
                createdAt: self.controlDate(after: stream.lastDate, at: now),
                paths: [stream.path]
            )
        )
        self.end(id, nil, tellPeer: false, at: now)
    }
}
