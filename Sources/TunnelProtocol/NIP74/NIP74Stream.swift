//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore

/// One stream of the NIP-74 dialect.
struct NIP74Stream {
    /// How far the opening has come.
    enum Phase: Hashable {
        /// Entry: CONNECT was given to be published.
        case connecting(MessageToken)
        /// Entry: a relay has CONNECT; waiting for the exit to speak, or for the grace to pass.
        case waiting
        /// Exit: the target is being connected.
        case dialling
        /// Bytes flow.
        case open
    }

    /// A message on its way.
    struct InFlight {
        enum Status { case pending, accepted, rejected }
        let token: MessageToken
        let data: ByteBuffer
        var status = Status.pending
    }

    let id: StreamID
    let key: String
    /// The path that carries it. Until a relay took CONNECT, the first of those tried.
    var path: PathID
    var phase: Phase
    /// Entry: the session that is offered, until it is decided.
    var offer: SessionOffer.Terms?
    /// Entry: whether plain NIP-74 will do if nobody accepts.
    var mayFallBack = true

    // Sending
    /// What waits to be published, in order.
    var sendQueue: Deque<ByteBuffer> = []
    var sendQueueBytes = 0
    var inFlight: Deque<InFlight> = []
    var inFlightBytes = 0
    /// No data message goes out before.
    var notBefore = NIODeadline.uptimeNanoseconds(0)
    var lastPublished: NIODeadline?
    /// When a relay last answered for a message of the stream.
    var lastAnswered = NIODeadline.uptimeNanoseconds(0)
    /// When a relay first accepted bytes of the stream.
    var firstAccepted: NIODeadline?
    /// Bytes in the queue for which credit was given before they were refused and put back.
    var requeuedBytes = 0
    /// Entry: when CONNECT is to be published again, unless the exit answers first.
    var connectDue: NIODeadline?
    /// Entry: where CONNECT goes.
    var connectPaths: [PathID] = []
    /// Entry: nobody has CONNECT, so it is repeated as such.
    var connectIsUnheard = true
    /// Date of the last message.
    var lastDate: Int64 = 0
    /// Dates ran into the ceiling; wait until all is delivered.
    var isAtCeiling = false
    var backOffs = 0
    /// The local side sends no more.
    var isFinished = false
    /// When the closing message for a reference entry is due.
    var plainCloseDue: NIODeadline?

    // Receiving
    /// Bytes handed over and not yet consumed.
    var unconsumed = 0
    var peerIsFinished = false
    /// The stream ends when everything is sent; what the peer still sends is dropped.
    var dropsInput = false
    /// The peer used the text form; it stays so (WIRE: a stream is in one form).
    var isText = false
    /// The peer names its data `DATA`; answer in kind.
    var peerSaysData = false

    // Time
    let startedAt: NIODeadline
    /// The peer sent something on the stream.
    var hasHeard = false
    var lastHeard: NIODeadline
    var lastActivity: NIODeadline
    /// End of the present wait: for CONNECT's OK, for the exit's word, for the dial.
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

    /// Takes up to `limit` bytes off the queue, joined.
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

    /// Puts the refused messages back in front, oldest first.
    mutating func requeueInFlight() {
        while let last = self.inFlight.popLast() {
            self.sendQueue.prepend(last.data)
            self.sendQueueBytes += last.data.readableBytes
            self.requeuedBytes += last.data.readableBytes
        }
        self.inFlightBytes = 0
    }

    /// Of `count` bytes taken off the queue, those for which credit was not given yet.
    mutating func takeUncredited(_ count: Int) -> Int {
        let known = min(count, self.requeuedBytes)
        self.requeuedBytes -= known
        return count - known
    }

    /// When the stream's messages last moved: published, or answered by the relay.
    var lastMovement: NIODeadline { max(self.lastPublished ?? .uptimeNanoseconds(0), self.lastAnswered) }

    /// Whether everything that was to be sent was taken by the relay.
    var isFlushed: Bool { self.sendQueue.isEmpty && self.inFlight.isEmpty }
}
