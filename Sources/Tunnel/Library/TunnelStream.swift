//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import TunnelProtocol

/// One stream of a tunnel, for asynchronous code.
///
/// The stream is an asynchronous sequence of what the other side sends, for one reader; ``write(_:)-(ByteBuffer)`` sends. A
/// slow reader slows the writer down, in both directions. The sequence ends when the other side sends no more. It throws a
/// ``StreamFailure`` when the stream ended with an error; what was read until then is incomplete. Bytes that come after the
/// reader stopped are dropped. A stream that is released before ``finish()`` is reset.
public struct TunnelStream: AsyncSequence, Sendable {
    public typealias Element = ByteBuffer

    typealias Producer = NIOThrowingAsyncSequenceProducer<
        ByteBuffer, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Reader
    >

    /// Tells the stream when its reader wants more, or is gone.
    final class Reader: NIOAsyncSequenceProducerDelegate, Sendable {
        private let bridge: NIOLoopBound<StreamBridge>
        private let loop: any EventLoop

        init(_ bridge: NIOLoopBound<StreamBridge>, loop: any EventLoop) {
            self.bridge = bridge
            self.loop = loop
        }

        func produceMore() {
            let bridge = self.bridge
            self.loop.execute { bridge.value.readerWantsMore() }
        }

        func didTerminate() {
            let bridge = self.bridge
            self.loop.execute { bridge.value.readerIsGone() }
        }
    }

    /// Resets the stream when its last reference is gone.
    fileprivate final class Hold: Sendable {
        private let bridge: NIOLoopBound<StreamBridge>
        private let loop: any EventLoop

        init(_ bridge: NIOLoopBound<StreamBridge>, loop: any EventLoop) {
            self.bridge = bridge
            self.loop = loop
        }

        deinit {
            let bridge = self.bridge
            self.loop.execute { bridge.value.ownerIsGone() }
        }
    }

    private let hold: Hold
    private let sequence: Producer
    private let bridge: NIOLoopBound<StreamBridge>
    private let loop: any EventLoop

    init(_ bridge: StreamBridge, loop: any EventLoop) {
        let bound = NIOLoopBound(bridge, eventLoop: loop)
        let producer = Producer.makeSequence(
            elementType: ByteBuffer.self,
            failureType: (any Error).self,
            backPressureStrategy: .init(lowWatermark: 2, highWatermark: 8),
            finishOnDeinit: false,
            delegate: Reader(bound, loop: loop)
        )
        bridge.source = producer.source
        self.sequence = producer.sequence
        self.hold = Hold(bound, loop: loop)
        self.bridge = bound
        self.loop = loop
    }

    /// Iterates over the data that arrives. Only one iterator of a stream may exist.
    public struct AsyncIterator: AsyncIteratorProtocol {
        private var iterator: Producer.AsyncIterator
        /// Keeps the stream while it is iterated.
        private let hold: Hold

        fileprivate init(_ iterator: Producer.AsyncIterator, _ hold: Hold) {
            self.iterator = iterator
            self.hold = hold
        }

        public mutating func next() async throws -> ByteBuffer? { try await self.next(isolation: #isolation) }

        public mutating func next(isolation actor: isolated (any Actor)?) async throws -> ByteBuffer? {
            try await self.iterator.next(isolation: actor)
        }
    }

    /// Makes the iterator. Call it once.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(self.sequence.makeAsyncIterator(), self.hold) }

    /// Sends bytes. Returns when more may be sent.
    ///
    /// - Throws: ``StreamFailure`` if the stream has ended or ``finish()`` was called; `CancellationError` if the task is
    ///   cancelled while it waits. The bytes are sent in that case too.
    public func write(_ bytes: ByteBuffer) async throws {
        let bridge = self.bridge
        let loop = self.loop
        let number = loop.makePromise(of: UInt64.self)
        try await withTaskCancellationHandler {
            try await loop.flatSubmit {
                let writer = bridge.value.write(bytes)
                number.succeed(writer.number)
                return writer.room
            }.get()
        } onCancel: {
            number.futureResult.whenSuccess { bridge.value.cancelWriter($0) }
        }
    }

    /// Sends bytes. Returns when more may be sent. See ``write(_:)-(ByteBuffer)``.
    public func write(_ bytes: some Sequence<UInt8> & Sendable) async throws {
        try await self.write(ByteBuffer(bytes: bytes))
    }

    /// Ends the sending direction. The other direction continues.
    public func finish() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.finish() }.get()
    }

    /// Ends both directions at once. Bytes in transit may be lost.
    public func reset() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.reset() }.get()
    }
}
