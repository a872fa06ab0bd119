//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// A stream of a session: both halves, and how far its opening and its end have come.
struct SessionStream: Sendable {
    /// How far the opening has come.
    enum Phase: Hashable, Sendable {
        /// Client: asked for. Exit: known by its bytes, which overtook the request.
        case requested
        /// Exit: the target is being connected.
        case dialling
        /// Bytes flow.
        case open
        /// Reset from here; kept until the peer knows.
        case reset
    }

    let id: StreamID
    var phase: Phase
    var send: SendStream
    var receive: ReceiveStream
    /// What was asked for, to ask again if it is lost (client).
    var request: StreamRequest?
    /// Why it was reset.
    var end: StreamEnd?
    /// The peer has our RESET_STREAM.
    var resetWasAcknowledged = false
    /// The peer sends no more: its end was handed over, or it reset the stream.
    var peerIsDone = false
    /// Whether the driver still has it.
    var isWithDriver = true
    /// In a queue of streams that have something to send.
    var isQueued = false
    /// Bytes of its last turn; small ones go first.
    var lastTurn = 0
    /// When the window last moved, to widen it if it moves quickly.
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

    /// Whether nothing is left to do for it.
    var isOver: Bool {
        switch self.phase {
        case .reset: self.resetWasAcknowledged && self.receive.finalSize != nil
        case .requested, .dialling, .open: self.peerIsDone && self.send.isComplete
        }
    }
}
