//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import NostrCrypto

/// A stream of plain NIP-74.
struct NIP74Stream {
    /// The progress of opening the stream.
    enum Phase: Hashable {
        /// Entry: CONNECT is being published.
        case connecting(MessageToken)
        /// Entry: a relay accepted CONNECT. The exit may answer, until the grace period ends.
        case waiting
        /// Exit: the target is being connected.
        case dialling
        /// Bytes flow.
        case open
    }

    /// A message that was published and is not settled.
    struct InFlight {
        enum Status {
            case pending
            case accepted
            case rejected
            /// Exit: the client is not subscribed yet.
            case unheard

            var mustBeRepeated: Bool { self == .rejected || self == .unheard }
        }
        let token: MessageToken
        let data: ByteBuffer
        var status = Status.pending
    }

    let id: StreamID
    let key: String
    /// The path that carries the stream. Until a relay accepts CONNECT, the first path tried.
    var path: PathID
    var phase: Phase
    /// Entry: the session that is offered; nil when that is decided.
    var offer: VersionedOffer?
    /// Entry: whether plain NIP-74 may follow if the offer is not accepted.
    var mayFallBack = true

    // Sending
    /// Bytes that wait to be published, in order.
    var sendQueue: Deque<ByteBuffer> = []
    var sendQueueBytes = 0
    var inFlight: Deque<InFlight> = []
    var inFlightBytes = 0
    /// The next data message is not published before this time.
    var notBefore = NIODeadline.uptimeNanoseconds(0)
    var lastPublished: NIODeadline?
    /// When a relay last answered a message of the stream.
    var lastAnswered = NIODeadline.uptimeNanoseconds(0)
    /// When a relay last accepted bytes of the stream.
    var lastAccepted: NIODeadline?
    /// Bytes in the queue that were rejected and put back. Credit was already given for them.
    var requeuedBytes = 0
    /// Entry: when CONNECT is repeated, unless the exit answers first.
    var connectDue: NIODeadline?
    /// Entry: the paths on which CONNECT is published.
    var connectPaths: [PathID] = []
    /// Entry: no subscriber received CONNECT, so it is repeated as CONNECT and not as OFFER.
    var connectIsUnheard = true
    /// Entry: number of times that CONNECT or OFFER was published.
    var connects = 0
    /// Date of the last message.
    var lastDate: Int64 = 0
    /// Dates reached the limit. Publishing continues when everything is delivered.
    var isAtCeiling = false
    var backOffs = 0
    /// Exit: number of times that the client was not subscribed yet.
    var unheardAnswers = 0
    /// The local side has finished.
    var isFinished = false
    /// When the closing message is due (exit).
    var plainCloseDue: NIODeadline?

    // Receiving
    /// Bytes that were delivered and not yet consumed.
    var unconsumed = 0
    var peerIsFinished = false
    /// The stream ends when everything is sent; what the peer still sends is dropped.
    var dropsInput = false
    /// The peer sends data as text. A stream keeps its form.
    var isText = false
    /// The peer uses the type `DATA`, which is used in answers, too.
    var peerUsesDataKind = false

    // Time
    let startedAt: NIODeadline
    /// Whether the peer has sent anything on the stream.
    var isAnswered = false
    var lastHeard: NIODeadline
    var lastActivity: NIODeadline
    /// When the current phase times out.
    var phaseDeadline: NIODeadline?

    init(id: StreamID, key: String, path: PathID, phase: Phase, now: NIODeadline) {
        self.id = id
        self.key = key
        self.path = path
        self.phase = phase
        self.startedAt = now
        self.lastHeard = now
        self.lastActivity = now
    }

    /// Removes up to `limit` bytes from the queue.
    mutating func dequeue(_ limit: Int) -> ByteBuffer? {
        guard var output = self.sendQueue.popFirst() else { return nil }
        if output.readableBytes > limit, let part = output.readSlice(length: limit) {
            self.sendQueue.prepend(output)
            output = part
        } else {
            while output.readableBytes < limit, var next = self.sendQueue.popFirst() {
                let room = limit - output.readableBytes
                if next.readableBytes > room, var part = next.readSlice(length: room) {
                    output.writeBuffer(&part)
                    self.sendQueue.prepend(next)
                } else {
                    output.writeBuffer(&next)
                }
            }
        }
        self.sendQueueBytes -= output.readableBytes
        return output
    }

    /// Puts rejected messages back in front of the queue, oldest first.
    mutating func requeueInFlight() {
        while let last = self.inFlight.popLast() {
            self.sendQueue.prepend(last.data)
            self.sendQueueBytes += last.data.readableBytes
            self.requeuedBytes += last.data.readableBytes
        }
        self.inFlightBytes = 0
    }

    /// Of `count` bytes removed from the queue, the number for which no credit was given yet.
    mutating func removeUncredited(_ count: Int) -> Int {
        let known = min(count, self.requeuedBytes)
        self.requeuedBytes -= known
        return count - known
    }

    /// When a message of the stream was last published or answered by the relay.
    var lastMovement: NIODeadline { max(self.lastPublished ?? .uptimeNanoseconds(0), self.lastAnswered) }

    /// Whether the relay accepted everything that was sent.
    var isFlushed: Bool { self.sendQueue.isEmpty && self.inFlight.isEmpty }

    /// What follows from the relay's answers.
    enum Settlement {
        case none
        /// Rejected messages are sent again later.
        case backedOff
        /// A message cannot be sent again, because a later one was accepted, or because it was rejected too often.
        case refused
    }

    /// Removes accepted messages. If the oldest was rejected and no message is pending, puts all back into the queue.
    mutating func settle(_ configuration: NIP74Configuration, at now: NIODeadline) -> Settlement {
        while let first = self.inFlight.first, first.status == .accepted {
            self.inFlight.removeFirst()
            self.inFlightBytes -= first.data.readableBytes
            self.backOffs = 0
        }
        guard let first = self.inFlight.first, first.status.mustBeRepeated,
            self.inFlight.allSatisfy({ $0.status != .pending })
        else { return .none }
        let laterWasTaken = self.inFlight.contains { $0.status == .accepted }
        guard !laterWasTaken, self.backOffs < NIP74Configuration.maximumBackOffs else { return .refused }
        if first.status == .unheard {
            // The wait doubles, because a client that never subscribes must not cost much.
            let wait = configuration.firstAnswerDelay.nanoseconds << Int64(min(self.unheardAnswers, 10))
            self.notBefore = min(now + .nanoseconds(wait), self.startedAt + configuration.exitTimeout)
            self.unheardAnswers += 1
            self.requeueInFlight()
            return .none
        }
        let (shortest, longest) = configuration.backOff
        let wait = TimeAmount.nanoseconds(min(longest.nanoseconds, shortest.nanoseconds << Int64(self.backOffs)))
        self.backOffs += 1
        self.notBefore = now + wait
        self.requeueInFlight()
        return .backedOff
    }

    // MARK: Receiving

    /// What a message brought.
    enum Received {
        case nothing
        case data([UInt8])
        case failed(StreamEnd)
    }

    /// Handles a message of the peer. At most `limit` bytes may wait for the driver.
    mutating func receive(_ message: NIP74Message, limit: Int) -> Received {
        guard !self.dropsInput else { return .nothing }
        // Data after the closing message means that the reported end was premature.
        guard !self.peerIsFinished else { return .failed(.protocolViolation) }
        if message.kind == .data { self.peerUsesDataKind = true }
        let bytes: [UInt8]
        switch message.payload {
        case nil:
            return .nothing
        case .bytes(let decoded) where self.isText && message.kind != .socks5Response:
            // On a stream in text form, this is text that is also valid base64.
            bytes = Array(Base64.encode(decoded))
        case .bytes(let decoded):
            bytes = decoded
        case .text(let text):
            guard message.kind != .socks5Response else { return .failed(.protocolViolation) }
            self.isText = true
            bytes = text
        }
        guard !bytes.isEmpty else { return .nothing }
        self.unconsumed += bytes.count
        return self.unconsumed <= limit ? .data(bytes) : .failed(.readerTooSlow)
    }

    // MARK: Deadlines

    /// When a relay last accepted data, if the exit has not answered any; nil at an exit. An upload may take long before
    /// the service answers, so the time counts from its last bytes.
    func unansweredSince(isEntry: Bool) -> NIODeadline? { isEntry && !self.isAnswered ? self.lastAccepted : nil }

    /// When the stream ends unless something happens.
    ///
    /// - Parameter isPeerKnown: Whether the peer has sent something, on this stream or another one.
    func idleDeadline(_ configuration: NIP74Configuration, isEntry: Bool, isPeerKnown: Bool) -> NIODeadline {
        let last = max(self.lastHeard, self.lastActivity)
        if let accepted = self.unansweredSince(isEntry: isEntry) {
            let timeout = isPeerKnown ? configuration.answerTimeout : configuration.firstAnswerTimeout
            return min(accepted + timeout, last + configuration.idleTimeout)
        }
        // The reference's exit does not signal the end of its data. After the local side has finished, the stream
        // waits only for data in flight.
        return last + (self.isFinished ? configuration.plainLinger : configuration.idleTimeout)
    }

    /// When the exit must have answered the offer. An exit that knows the client supports sessions, and it may not serve
    /// plain NIP-74 at all, so an offer with a proof has more time.
    func offerDeadline(_ configuration: NIP74Configuration) -> NIODeadline {
        let (first, only) = configuration.fallbackDelay
        return self.startedAt + (self.mayFallBack && self.offer?.proof == nil ? first : only)
    }

    /// Whether an exit repeats its first answer if the relay reports that the client is not subscribed. The client may
    /// subscribe a moment later.
    func waitsForSubscription(_ configuration: NIP74Configuration, at now: NIODeadline) -> Bool {
        self.lastAccepted == nil && self.startedAt + configuration.exitTimeout > now
    }

    /// Whether the offer of a session waits for a relay. It is made as soon as the first relay is ready, and if that one
    /// fails, another one may become ready.
    func waitsForRelays(_ configuration: NIP74Configuration, at now: NIODeadline) -> Bool {
        self.offer != nil && !self.mayFallBack && !self.isAnswered && self.startedAt + configuration.exitTimeout > now
    }

    /// When the stream must be looked at next.
    func nextDeadline(
        _ configuration: NIP74Configuration,
        isEntry: Bool,
        isPeerKnown: Bool,
        isPathWritable: Bool,
        at now: NIODeadline
    ) -> NIODeadline {
        var earliest = self.idleDeadline(configuration, isEntry: isEntry, isPeerKnown: isPeerKnown)
        for deadline in [self.phaseDeadline, self.plainCloseDue, self.connectDue] {
            if let deadline { earliest = min(earliest, deadline) }
        }
        // A path that is not writable needs no deadline: sending goes on when it becomes writable.
        guard !self.sendQueue.isEmpty, isPathWritable else { return earliest }
        if self.notBefore > now { earliest = min(earliest, self.notBefore) }
        if self.isAtCeiling, self.inFlight.isEmpty {
            let delivered = self.lastMovement + configuration.deliveryHorizon
            if delivered > now { earliest = min(earliest, delivered) }
        }
        return earliest
    }
}
