//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import TunnelProtocol

/// One stream of a tunnel, for asynchronous code.
///
/// The stream is an asynchronous sequence of the bytes that the other side sends. It supports only one reader.
/// ``write(_:)-(ByteBuffer)`` sends bytes. Flow control applies in both directions: a slow reader slows down the
/// writer.
///
/// The sequence ends when the other side has finished sending. It throws a ``StreamFailure`` if the stream ended with
/// an error; the bytes that were read before are then incomplete. If the reader stops, further bytes are dropped. If
/// the stream is released before ``finish()`` is called, it is reset.
public struct TunnelStream: AsyncSequence, Sendable {
    public typealias Element = ByteBuffer

    typealias Producer = NIOThrowingAsyncSequenceProducer<
        ByteBuffer, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Reader
    >

    /// Notifies the stream when its reader needs more bytes or has stopped.
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

    /// Resets the stream when its last reference is released, unless it is finished.
    fileprivate final class Ownership: Sendable {
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

    private let ownership: Ownership
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
        self.ownership = Ownership(bound, loop: loop)
        self.bridge = bound
        self.loop = loop
    }

    /// Iterates over the received bytes. A stream supports only one iterator.
    public struct AsyncIterator: AsyncIteratorProtocol {
        private var iterator: Producer.AsyncIterator
        /// Keeps the stream open while the iterator exists.
        private let ownership: Ownership

        fileprivate init(_ iterator: Producer.AsyncIterator, _ ownership: Ownership) {
            self.iterator = iterator
            self.ownership = ownership
        }

        public mutating func next() async throws -> ByteBuffer? { try await self.next(isolation: #isolation) }

        public mutating func next(isolation actor: isolated (any Actor)?) async throws -> ByteBuffer? {
            try await self.iterator.next(isolation: actor)
        }
    }

    /// Creates the iterator. Call this method only once.
    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(self.sequence.makeAsyncIterator(), self.ownership)
    }

    /// Sends bytes. Returns when more bytes may be sent.
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

    /// Sends bytes. Returns when more bytes may be sent. See ``write(_:)-(ByteBuffer)``.
    public func write(_ bytes: some Sequence<UInt8> & Sendable) async throws {
        try await self.write(ByteBuffer(bytes: bytes))
    }

    /// Ends the sending direction. The other direction continues.
    public func finish() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.finish() }.get()
    }

    /// Ends both directions immediately. Bytes in transit may be lost.
    public func reset() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.reset() }.get()
    }
}
