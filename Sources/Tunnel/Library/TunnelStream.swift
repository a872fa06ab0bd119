//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import TunnelProtocol

/// One stream of a tunnel, for code that reads and writes it by itself: what the other side sends, piece by piece, as an
/// asynchronous sequence for one reader, and ``write(_:)-(ByteBuffer)`` for the other direction.
///
/// Both directions are held back by whoever reads slowly. The sequence ends when the other side sends no more, and throws
/// a ``StreamFailure`` when the stream broke off: what was read then is not all. Bytes that come after a reader stopped reading
/// are dropped. Whoever lets go of the stream without finishing it ends it with a reset.
public struct TunnelStream: AsyncSequence, Sendable {
    public typealias Element = ByteBuffer

    typealias Producer = NIOThrowingAsyncSequenceProducer<
        ByteBuffer, any Error, NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark, Reader
    >

    /// What the reader's end means to the stream.
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

    /// Ends the stream when nobody has it any more.
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

    public struct AsyncIterator: AsyncIteratorProtocol {
        private var iterator: Producer.AsyncIterator
        /// A loop over a stream that nobody else has must not lose it.
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

    /// To be called once.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(self.sequence.makeAsyncIterator(), self.hold) }

    /// Sends bytes; returns when there is room for more.
    ///
    /// - Throws: ``StreamFailure`` if the stream is over or ``finish()`` was called, `CancellationError` if the task is cancelled
    ///   while it waits. The bytes go out all the same then, unless the stream is reset.
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

    /// The same for other bytes.
    public func write(_ bytes: some Sequence<UInt8> & Sendable) async throws {
        try await self.write(ByteBuffer(bytes: bytes))
    }

    /// Says that nothing more will be sent. The other direction goes on.
    public func finish() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.finish() }.get()
    }

    /// Ends both directions at once; what is under way may be lost.
    public func reset() async throws {
        let bridge = self.bridge
        try await self.loop.submit { bridge.value.reset() }.get()
    }
}
