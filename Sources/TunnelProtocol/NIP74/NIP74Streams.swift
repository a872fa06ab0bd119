//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// The streams of plain NIP-74 that exist: sends and receives their data, and ends them.
///
/// A stream uses one relay, because NIP-74 has no sequence numbers.
struct NIP74Streams {
    let isEntry: Bool
    private let configuration: NIP74Configuration
    private var paths: [PathID: NIP74Path] = [:]
    private(set) var dates: MessageDates
    /// Whether the peer has sent something on any stream.
    private var isPeerKnown = false
    var table: NIP74StreamTable

    init(isEntry: Bool, configuration: NIP74Configuration) {
        self.isEntry = isEntry
        self.configuration = configuration
        self.dates = MessageDates(isEntry: isEntry, deliveryHorizon: configuration.deliveryHorizon)
        self.table = NIP74StreamTable(rememberedStreams: configuration.rememberedStreams)
    }

    // MARK: Paths

    func hasPath(_ path: PathID) -> Bool { self.paths[path] != nil }

    func destination(on path: PathID) -> String? { self.paths[path]?.destination }

    /// The paths in ascending order, without those in `others`.
    func paths(without others: [PathID]) -> [PathID] {
        self.paths.keys.filter { !others.contains($0) }.sorted { $0.rawValue < $1.rawValue }
    }

    /// Adds a path, or updates its description.
    mutating func add(_ path: PathID, _ description: PathDescription, destination: String) {
        let isWritable = self.paths[path]?.isWritable ?? true
        self.paths[path] = NIP74Path(description: description, isWritable: isWritable, destination: destination)
    }

    /// Removes a path. Bytes may have been lost with it, so its streams end.
    mutating func remove(_ path: PathID, _ context: inout NIP74Context) {
        guard self.paths.removeValue(forKey: path) != nil else { return }
        for id in self.table.identifiers {
            guard let stream = self.table[id], stream.path == path else { continue }
            // The outcome of a CONNECT in flight decides. Before the exit answers, a stream without data in flight
            // moves to another relay.
            if case .connecting = stream.phase { continue }
            if self.isEntry, !stream.isAnswered, stream.inFlight.isEmpty, let other = self.paths(without: []).first {
                self.table[id]?.path = other
                continue
            }
            if stream.waitsForRelays(self.configuration, at: context.now.monotonic) { continue }
            self.end(id, .relayLost, &context)
        }
    }

    mutating func setWritable(_ path: PathID, _ isWritable: Bool, _ context: inout NIP74Context) {
        guard self.paths[path] != nil else { return }
        self.paths[path]?.isWritable = isWritable
        guard isWritable else { return }
        for id in self.table.identifiers where self.table[id]?.path == path { self.send(id, &context) }
    }

    // MARK: Sending

    /// Records the date of an event from the peer.
    mutating func received(date: Int64) { self.dates.received(date) }

    /// Opens a stream for data.
    mutating func becomeOpen(_ id: StreamID, _ context: inout NIP74Context) {
        self.table[id]?.phase = .open
        self.table[id]?.phaseDeadline = nil
        if self.isEntry { context.actions.append(.opened(id)) } else { self.touch(id, context.now) }
        context.actions.append(.credit(id, self.configuration.sendBuffer))
        self.send(id, &context)
        self.schedule(id, &context)
    }

    private mutating func touch(_ id: StreamID, _ now: Moment) { self.table[id]?.lastActivity = now.monotonic }

    /// Queues data of the driver.
    mutating func send(_ id: StreamID, _ data: ByteBuffer, _ context: inout NIP74Context) {
        guard let isFinished = self.table[id]?.isFinished, !isFinished, data.readableBytes > 0 else { return }
        self.table[id]?.sendQueue.append(data)
        self.table[id]?.sendQueueBytes += data.readableBytes
        self.send(id, &context)
    }

    /// Publishes the queued data of a stream that may be sent now.
    private mutating func send(_ id: StreamID, _ context: inout NIP74Context) {
        let now = context.now.monotonic
        while var stream = self.table[id], !stream.sendQueue.isEmpty {
            guard stream.phase == .open, let path = self.paths[stream.path], path.isWritable,
                stream.inFlightBytes < self.configuration.inFlightBytes,
                !stream.inFlight.contains(where: \.status.mustBeRepeated)
            else { return }
            guard stream.notBefore <= now else { return self.schedule(id, &context) }
            guard let date = self.dates.next(of: &stream, on: path, at: context.now) else {
                self.table[id] = stream
                return self.schedule(id, &context)
            }
            guard let data = stream.dequeue(path.maximumData) else { return }
            let uncredited = stream.removeUncredited(data.readableBytes)
            if uncredited > 0 { context.actions.append(.credit(id, uncredited)) }
            let message = NIP74Message(
                key: stream.key,
                kind: stream.peerUsesDataKind ? .data : .socks5Response,
                payload: .bytes(Array(data.readableBytesView)),
                destination: path.destination
            )
            stream.notBefore = now + self.configuration.plainPacing
            let token = context.makeToken()
            stream.inFlight.append(NIP74Stream.InFlight(token: token, data: data))
            stream.inFlightBytes += data.readableBytes
            stream.lastPublished = now
            stream.lastActivity = now
            stream.lastDate = date
            self.table[id] = stream
            self.table.own(token, id)
            context.actions.append(
                .publish(
                    token,
                    plaintext: ByteBuffer(bytes: message.encoded()),
                    createdAt: date,
                    paths: self.targets(of: stream)
                )
            )
        }
    }

    /// Returns the paths on which data is published. An entry uses all paths until the exit has answered, because it
    /// does not know to which relays the exit is connected. The exit drops duplicates.
    private func targets(of stream: NIP74Stream) -> [PathID] {
        guard self.isEntry, !stream.isAnswered else { return [stream.path] }
        return [stream.path] + self.paths(without: [stream.path])
    }

    /// Handles the relays' answer to a data message.
    mutating func published(
        _ token: MessageToken,
        of id: StreamID,
        _ outcome: PublishOutcome,
        _ context: inout NIP74Context
    ) {
        let now = context.now.monotonic
        guard let stream = self.table[id],
            let index = stream.inFlight.firstIndex(where: { $0.token == token })
        else { return }
        self.table[id]?.lastAnswered = now
        switch outcome {
        case .accepted:
            self.table[id]?.inFlight[index].status = .accepted
            self.table[id]?.lastAccepted = now
        case .rejected(.rateLimited), .rejected(.held): self.table[id]?.inFlight[index].status = .rejected
        case .rejected(.noSubscriber) where !self.isEntry && stream.waitsForSubscription(self.configuration, at: now):
            self.table[id]?.inFlight[index].status = .unheard
        case .rejected(.noSubscriber), .rejected(.refused), .rejected(.unreachable):
            return self.end(id, .relayRefused, &context)
        case .lost: return self.end(id, .relayLost, &context)
        }
        switch self.table[id]?.settle(self.configuration, at: now) {
        case .refused: return self.end(id, .relayRefused, &context)
        case .backedOff: context.actions.append(.report(.backedOff))
        case .some(.none), nil: break
        }
        self.send(id, &context)
        self.schedule(id, &context)
        self.endIfFinished(id, &context)
    }

    // MARK: Receiving

    /// Handles a message of the peer for a stream.
    mutating func receive(_ message: NIP74Message, on id: StreamID, _ context: inout NIP74Context) {
        guard self.table[id] != nil else { return }
        self.isPeerKnown = true
        self.table[id]?.isAnswered = true
        self.table[id]?.lastHeard = context.now.monotonic
        self.touch(id, context.now)
        self.receivePayload(of: message, on: id, &context)
    }

    /// Handles the payload of a message, which may also be the CONNECT that creates the stream.
    mutating func receivePayload(of message: NIP74Message, on id: StreamID, _ context: inout NIP74Context) {
        switch self.table[id]?.receive(message, limit: self.configuration.receiveBuffer) {
        case .data(let bytes): context.actions.append(.data(id, ByteBuffer(bytes: bytes)))
        case .failed(let reason): self.end(id, reason, &context)
        case .nothing, nil: break
        }
    }

    /// Handles the closing message of an exit. It names no stream, so it is ignored unless there is exactly one.
    mutating func receiveClose(_ context: inout NIP74Context) {
        guard let id = self.table.only, self.table[id]?.peerIsFinished == false else {
            context.actions.append(.report(.unknownStream))
            return
        }
        self.table[id]?.peerIsFinished = true
        context.actions.append(.finished(id))
        self.endIfFinished(id, &context)
    }

    mutating func consumed(_ id: StreamID, _ bytes: Int) {
        guard let unconsumed = self.table[id]?.unconsumed else { return }
        self.table[id]?.unconsumed = max(0, unconsumed - bytes)
    }

    // MARK: Ends

    /// Finishes the sending direction.
    mutating func finish(_ id: StreamID, _ context: inout NIP74Context) {
        guard self.table[id]?.isFinished == false else { return }
        self.table[id]?.isFinished = true
        self.endIfFinished(id, &context)
    }

    mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, _ context: inout NIP74Context) {
        guard let stream = self.table[id] else { return }
        // NIP-74 has no error message, and an entry cannot signal the end of a stream. Only an exit has something left
        // to send: its data and the closing message.
        guard !self.isEntry, case .open = stream.phase else { return self.end(id, reason, &context) }
        self.table[id]?.dropsInput = true
        self.finish(id, &context)
    }

    /// Ends a stream, tells the driver, and sends the closing message if this is an exit.
    mutating func end(_ id: StreamID, _ reason: StreamEnd, _ context: inout NIP74Context) {
        guard self.table[id] != nil else { return }
        self.reset(id, reason, &context)
        context.actions.append(.ended(id, reason))
    }

    /// Ends a stream and tells only the driver.
    mutating func endSilently(_ id: StreamID, _ reason: StreamEnd?, _ context: inout NIP74Context) {
        guard self.table[id] != nil else { return }
        self.forget(id, &context)
        context.actions.append(.ended(id, reason))
    }

    /// Ends a stream at the request of the driver, and sends the closing message if this is an exit.
    mutating func reset(_ id: StreamID, _ reason: StreamEnd, _ context: inout NIP74Context) {
        // After the loss of the stream's relay bytes may be missing. The closing message would look like a normal end.
        if let stream = self.table[id], !self.isEntry, reason != .replayed, reason != .relayLost {
            let candidates = [stream.path] + self.paths(without: [stream.path])
            if let path = candidates.first(where: self.hasPath) { self.publishClose(of: stream, on: path, &context) }
        }
        self.forget(id, &context)
    }

    /// Sends the closing message to a reference entry. NIP-74 has no such message for exits.
    private func publishClose(of stream: NIP74Stream, on path: PathID, _ context: inout NIP74Context) {
        context.actions.append(
            .publish(
                context.makeToken(),
                plaintext: ByteBuffer(bytes: NIP74Configuration.plainCloseMessage),
                // Dated after the last data, for relays that sort by date.
                createdAt: self.dates.ofControl(after: stream.lastDate, at: context.now),
                paths: [path]
            )
        )
    }

    /// Removes a stream without telling anyone.
    mutating func forget(_ id: StreamID, _ context: inout NIP74Context) {
        self.table.remove(id)
        context.timers.cancel(.stream(id))
    }

    /// Ends a stream when both directions are finished. If only an exit's own direction is, schedules the closing
    /// message.
    private mutating func endIfFinished(_ id: StreamID, _ context: inout NIP74Context) {
        guard let stream = self.table[id], stream.isFinished, stream.isFlushed else { return }
        if stream.peerIsFinished { return self.endSilently(id, nil, &context) }
        // A reference entry detects the end by the closing message. The delay gives it time to read the data first.
        guard !self.isEntry, stream.plainCloseDue == nil else { return }
        let last = stream.lastPublished ?? context.now.monotonic
        self.table[id]?.plainCloseDue = last + self.configuration.plainCloseDelay
        self.schedule(id, &context)
    }

    // MARK: Time

    /// Schedules the stream's next deadline.
    func schedule(_ id: StreamID, _ context: inout NIP74Context) {
        guard let stream = self.table[id] else { return }
        let deadline = stream.nextDeadline(
            self.configuration,
            isEntry: self.isEntry,
            isPeerKnown: self.isPeerKnown,
            isPathWritable: self.paths[stream.path]?.isWritable == true,
            at: context.now.monotonic
        )
        context.timers.schedule(.stream(id), at: deadline)
    }

    /// Handles what is due for a stream.
    mutating func timeout(_ id: StreamID, _ context: inout NIP74Context) {
        let now = context.now.monotonic
        guard let stream = self.table[id] else { return }
        if let due = stream.plainCloseDue, due <= now {
            self.publishClose(of: stream, on: stream.path, &context)
            return self.endSilently(id, nil, &context)
        }
        let deadline = stream.idleDeadline(
            self.configuration,
            isEntry: self.isEntry,
            isPeerKnown: self.isPeerKnown
        )
        if deadline <= now {
            let isUnanswered = stream.unansweredSince(isEntry: self.isEntry) != nil
            return self.end(id, isUnanswered ? .exitSilent : .idle, &context)
        }
        self.send(id, &context)
        self.schedule(id, &context)
    }
}
