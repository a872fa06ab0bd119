//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// The queue of outgoing messages for one client. Any event loop can add to it.
///
/// Messages are sent in the order in which they were added. All messages that are added before the client's event loop
/// runs are sent together. A client is disconnected when more than ``RelayLimits/outboundBytes`` wait for it, in this
/// queue or in the buffer of its connection.
final class RelayOutbox: Sendable {
    private struct State {
        var socket: WebSocket?
        var queue: [WebSocketText] = []
        var queuedBytes = 0
        var isScheduled = false
        var isClosed = false
        /// Whether more than `maximumBytes` were queued. The client is then disconnected.
        var hasOverflowed = false
    }

    private let eventLoop: any EventLoop
    /// IP address of the client, for log messages.
    private let peer: String
    private let maximumBytes: Int
    private let metrics: RelayMetrics
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    init(
        eventLoop: any EventLoop,
        peer: String,
        maximumBytes: Int,
        metrics: RelayMetrics,
        logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.peer = peer
        self.maximumBytes = maximumBytes
        self.metrics = metrics
        self.logger = logger
    }

    /// Sets the connection and sends what is queued. Call on the event loop of the connection.
    func open(_ socket: WebSocket) {
        self.state.withLockedValue { $0.socket = socket }
        self.drain()
    }

    /// Reports a useless message of the client. See ``WebSocket/noteWaste()``.
    func noteWaste() {
        self.state.withLockedValue { $0.socket }?.noteWaste()
    }

    /// Discards the queue. Messages that are added later are ignored.
    func close() {
        self.state.withLockedValue { state in
            state.isClosed = true
            state.socket = nil
            state.queue = []
            state.queuedBytes = 0
        }
    }

    /// Queues a message. Can be called on any thread.
    func send(_ message: WebSocketText) {
        let length = message.length
        let mustSchedule = self.state.withLockedValue { state in
            guard !state.isClosed, !state.hasOverflowed else { return false }
            if state.queuedBytes + length > self.maximumBytes {
                state.hasOverflowed = true
                state.queue = []
            } else {
                state.queue.append(message)
                state.queuedBytes += length
            }
            guard !state.isScheduled else { return false }
            state.isScheduled = true
            return true
        }
        // Scheduled even on the client's own event loop, so that all replies to one read are sent in one write.
        if mustSchedule { self.eventLoop.execute { self.drain() } }
    }

    private func drain() {
        var sentBytes = 0
        let (socket, messages, hasOverflowed) = self.state.withLockedValue { state in
            state.isScheduled = false
            guard let socket = state.socket else { return (nil as WebSocket?, [WebSocketText](), false) }
            let messages = state.queue
            sentBytes = state.queuedBytes
            state.queue = []
            state.queuedBytes = 0
            return (socket, messages, state.hasOverflowed)
        }
        guard let socket else { return }
        self.metrics.sentBytes.increment(by: sentBytes)
        for message in messages { socket.sendText(message) }
        if hasOverflowed || (!socket.isWritable && socket.bufferedBytes > self.maximumBytes) {
            self.metrics.slowReaders.increment()
            self.logger.notice(
                "slow reader disconnected",
                metadata: ["peer": "\(self.peer)", "limit": "\(self.maximumBytes)"]
            )
            socket.abort()
        }
    }
}
