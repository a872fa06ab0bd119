//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import HTTPTransport
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// The way to one client, from any loop.
///
/// Messages keep the order in which they were put in. Putting in from another loop costs one wake-up for as many
/// messages as come before it is served. What waits is bounded: a reader that lags further behind than
/// ``RelayLimits/outboundBytes`` is disconnected.
final class RelayOutbox: Sendable {
    private struct State {
        var socket: WebSocket?
        var queue: [[ByteBuffer]] = []
        var queuedBytes = 0
        var isScheduled = false
        var isClosed = false
        /// More waited than may.
        var hasOverflowed = false
    }

    private let eventLoop: any EventLoop
    /// For the log: who reads.
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

    /// Gives the outbox its socket; on the socket's loop.
    func open(_ socket: WebSocket) {
        self.state.withLockedValue { $0.socket = socket }
        self.drain()
    }

    /// The client's message was not worth its time.
    func noteWaste() {
        self.state.withLockedValue { $0.socket }?.noteWaste()
    }

    /// Drops what waits and everything to come.
    func close() {
        self.state.withLockedValue { state in
            state.isClosed = true
            state.socket = nil
            state.queue = []
            state.queuedBytes = 0
        }
    }

    /// Puts in a message made of `parts`.
    func send(_ parts: [ByteBuffer]) {
        let length = parts.reduce(0) { $0 + $1.readableBytes }
        let mustSchedule = self.state.withLockedValue { state in
            guard !state.isClosed, !state.hasOverflowed else { return false }
            if state.queuedBytes + length > self.maximumBytes {
                state.hasOverflowed = true
                state.queue = []
            } else {
                state.queue.append(parts)
                state.queuedBytes += length
            }
            guard !state.isScheduled else { return false }
            state.isScheduled = true
            return true
        }
        // Also on the own loop: what one read brings goes out in one write.
        if mustSchedule { self.eventLoop.execute { self.drain() } }
    }

    private func drain() {
        var sentBytes = 0
        let (socket, messages, hasOverflowed) = self.state.withLockedValue { state in
            state.isScheduled = false
            guard let socket = state.socket else { return (nil as WebSocket?, [[ByteBuffer]](), false) }
            let messages = state.queue
            sentBytes = state.queuedBytes
            state.queue = []
            state.queuedBytes = 0
            return (socket, messages, state.hasOverflowed)
        }
        guard let socket else { return }
        self.metrics.sentBytes.increment(by: sentBytes)
        for parts in messages {
            socket.sendText(parts)
        }
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
