//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import TunnelProtocol

/// Connects a stream to asynchronous code. All methods must be called on the event loop of the stream.
final class StreamBridge: StreamEndpoint, EvictableStream {
    private let carrier: any StreamCarrier
    private let id: StreamID
    private let onEnd: StreamEndHandler
    private let loop: any EventLoop

    /// Buffers the received bytes until they are read. The receive window of the stream limits their number.
    var source: TunnelStream.Producer.Source?
    /// Number of bytes that were yielded but not yet reported as consumed.
    private var unconsumed = 0
    private var credit = 0
    /// Writers that wait for credit, with their numbers.
    private var writers: Deque<(number: UInt64, promise: EventLoopPromise<Void>)> = []
    private var lastWriter: UInt64 = 0
    private var isFinished = false
    private var peerIsFinished = false
    private var end: StreamEnd??
    /// Called when the stream has ended with an error.
    var onFailure: () -> Void = {}
    let startedAt = NIODeadline.now()
    var hasReceivedNothing: Bool { self.received == 0 }
    private var sent = 0
    private var received = 0

    init(
        carrier: any StreamCarrier,
        id: StreamID,
        loop: any EventLoop,
        onEnd: @escaping StreamEndHandler
    ) {
        self.carrier = carrier
        self.id = id
        self.loop = loop
        self.onEnd = onEnd
    }

    private var isOver: Bool { self.end != nil }

    private static func failure(_ reason: StreamEnd) -> StreamFailure {
        StreamFailure(reason)
    }

    // MARK: Code to stream

    /// Sends bytes. The future succeeds when more bytes may be sent. The number identifies the writer in
    /// ``cancelWriter(_:)``.
    func write(_ data: ByteBuffer) -> (number: UInt64, room: EventLoopFuture<Void>) {
        self.lastWriter += 1
        return (self.lastWriter, self.send(data, self.lastWriter))
    }

    private func send(_ data: ByteBuffer, _ number: UInt64) -> EventLoopFuture<Void> {
        guard !self.isOver else {
            let reason: StreamEnd = if case .some(.some(let reason)) = self.end { reason } else { .connectionReset }
            return self.loop.makeFailedFuture(Self.failure(reason))
        }
        guard !self.isFinished else {
            return self.loop.makeFailedFuture(StreamFailure(hop: .stream, reason: "write() was called after finish()"))
        }
        guard data.readableBytes > 0 else { return self.loop.makeSucceededVoidFuture() }
        self.credit -= data.readableBytes
        self.sent += data.readableBytes
        self.carrier.send(self.id, data)
        guard self.credit <= 0, !self.isOver else { return self.loop.makeSucceededVoidFuture() }
        let promise = self.loop.makePromise(of: Void.self)
        self.writers.append((number, promise))
        return promise.futureResult
    }

    /// Fails the future of a waiting writer, because its task was cancelled.
    func cancelWriter(_ number: UInt64) {
        guard let index = self.writers.firstIndex(where: { $0.number == number }) else { return }
        self.writers.remove(at: index).promise.fail(CancellationError())
    }

    func finish() {
        guard !self.isOver, !self.isFinished else { return }
        self.isFinished = true
        self.carrier.finish(self.id)
    }

    func reset() {
        guard !self.isOver else { return }
        self.carrier.reset(self.id, .connectionReset)
        self.ended(.connectionReset)
    }

    /// Ends the stream to make room for another.
    func evict() {
        guard !self.isOver else { return }
        self.carrier.reset(self.id, .tooManyStreams)
        self.ended(.tooManyStreams)
    }

    func readerWantsMore() {
        self.consume(self.unconsumed)
        self.unconsumed = 0
    }

    /// Called when the reader has stopped. Further bytes are dropped and reported as consumed, so that they do not fill
    /// the receive window.
    func readerIsGone() {
        guard !self.peerIsFinished else { return }
        self.source = nil
        self.readerWantsMore()
    }

    /// Called when the last reference to the stream was released.
    func ownerIsGone() {
        if !self.isFinished { self.reset() }
    }

    private func consume(_ bytes: Int) {
        if bytes > 0, !self.isOver { self.carrier.consumed(self.id, bytes) }
    }

    // MARK: Stream to code

    func opened() {}

    func credit(_ bytes: Int) {
        self.credit += bytes
        while self.credit > 0, let writer = self.writers.popFirst() { writer.promise.succeed() }
    }

    func receive(_ data: ByteBuffer) {
        self.received += data.readableBytes
        self.unconsumed += data.readableBytes
        switch self.source?.yield(data) {
        case .produceMore?: self.readerWantsMore()
        // The reader calls readerWantsMore() when it needs more bytes.
        case .stopProducing?: break
        case .dropped?, nil: self.readerWantsMore()
        }
    }

    func finished() {
        self.peerIsFinished = true
        self.source?.finish()
    }

    func ended(_ reason: StreamEnd?) {
        guard !self.isOver else { return }
        self.end = .some(reason)
        if let reason {
            self.peerIsFinished = true
            self.source?.finish(Self.failure(reason))
        } else {
            self.source?.finish()
        }
        self.source = nil
        for writer in self.writers { writer.promise.fail(Self.failure(reason ?? .connectionReset)) }
        self.writers = []
        self.onEnd(reason, self.sent, self.received)
        if reason != nil { self.onFailure() }
    }
}
