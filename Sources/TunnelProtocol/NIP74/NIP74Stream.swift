//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

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
        enum Status { case pending, accepted, rejected }
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
    var offer: SessionOffer.Terms?
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
    /// When a relay first accepted bytes of the stream.
    var firstAccepted: NIODeadline?
    /// Bytes in the queue that were rejected and put back. Credit was already given for them.
    var requeuedBytes = 0
    /// Entry: when CONNECT is repeated, unless the exit answers first.
    var connectDue: NIODeadline?
    /// Entry: the paths on which CONNECT is published.
    var connectPaths: [PathID] = []
    /// Entry: no subscriber received CONNECT, so it is repeated as CONNECT and not as OFFER.
    var connectIsUnheard = true
    /// Date of the last message.
    var lastDate: Int64 = 0
    /// Dates reached the limit. Publishing continues when everything is delivered.
    var isAtCeiling = false
    var backOffs = 0
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
    var peerSaysData = false

    // Time
    let startedAt: NIODeadline
    /// Whether the peer has sent anything on the stream.
    var hasHeard = false
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
    mutating func takeUncredited(_ count: Int) -> Int {
        let known = min(count, self.requeuedBytes)
        self.requeuedBytes -= known
        return count - known
    }

    /// When a message of the stream was last published or answered by the relay.
    var lastMovement: NIODeadline { max(self.lastPublished ?? .uptimeNanoseconds(0), self.lastAnswered) }

    /// Whether the relay accepted everything that was sent.
    var isFlushed: Bool { self.sendQueue.isEmpty && self.inFlight.isEmpty }
}
