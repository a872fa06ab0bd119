//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A stream of a session: both of its halves, and the state of opening and closing it.
struct SessionStream: Sendable {
    /// The phase of a stream.
    enum Phase: Hashable, Sendable {
        /// Client: the stream was requested. Exit: data has arrived before the request.
        case requested
        /// Exit: connecting to the target.
        case dialling
        /// Data can be transferred.
        case open
        /// The stream was reset. Its state is kept until the peer acknowledges the RESET_STREAM of this endpoint.
        case reset
    }

    let id: StreamID
    var phase: Phase
    var send: SendStream
    var receive: ReceiveStream
    /// The reason with which the stream is reset once the peer has acknowledged all data.
    var endAfterDelivery: StreamEnd?
    /// The peer acknowledged the RESET_STREAM.
    var resetWasAcknowledged = false
    /// The peer sends no more data: all data up to its end was delivered, or the peer reset the stream.
    var peerIsDone = false
    /// Whether the driver still uses the stream.
    var isWithDriver = true
    /// Whether the stream is in one of the send queues.
    var isQueued = false
    /// Number of bytes that the stream last put into a packet. Streams that send little have priority.
    var lastTurn = 0
    /// When credit was last granted. The window is widened if credit is used up quickly.
    var lastCredit: NIODeadline
    var lastActivity: NIODeadline
    let startedAt: NIODeadline

    init(id: StreamID, phase: Phase, sendLimit: UInt64, window: Int, now: NIODeadline) {
        self.id = id
        self.phase = phase
        self.send = SendStream(limit: sendLimit)
        self.receive = ReceiveStream(window: window)
        self.lastCredit = now
        self.lastActivity = now
        self.startedAt = now
    }

    /// Whether the stream is closed in both directions and its state can be removed.
    var isOver: Bool {
        switch self.phase {
        case .reset: self.resetWasAcknowledged && self.receive.finalSize != nil
        case .requested, .dialling, .open: self.peerIsDone && self.send.isComplete
        }
    }
}
