//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
import NIOWebSocket

/// An open WebSocket connection. Every method is to be called on ``eventLoop``.
public struct WebSocket: Sendable {
    /// What happens on a connection; all are called on its loop, and nothing after the close.
    public struct Events: Sendable {
        /// A whole message, text or binary.
        public var onMessage: @Sendable (ByteBuffer) -> Void
        /// A whole binary message, where the two are to be told apart.
        package var onBinary: (@Sendable (ByteBuffer) -> Void)?
        /// All messages that came together were handed on.
        package var onBurstEnd: (@Sendable () -> Void)?
        /// The send buffer ran full (false) or drained (true).
        public var onWritabilityChange: @Sendable (Bool) -> Void
        /// The end. Called once.
        public var onClose: @Sendable (WebSocketCloseReason) -> Void

        public init(
            onMessage: @escaping @Sendable (ByteBuffer) -> Void,
            onWritabilityChange: @escaping @Sendable (Bool) -> Void = { _ in },
            onClose: @escaping @Sendable (WebSocketCloseReason) -> Void
        ) {
            self.onMessage = onMessage
            self.onWritabilityChange = onWritabilityChange
            self.onClose = onClose
        }
    }

    private let channel: any Channel
    private let handler: NIOLoopBound<WebSocketHandler>

    /// Adds the handlers of one end to a channel whose pipeline ends in NIO's frame encoder and decoder.
    static func attach(
        to channel: any Channel,
        configuration: WebSocketConfiguration,
        isServer: Bool,
        events: Events
    ) throws -> WebSocket {
        let operations = channel.pipeline.syncOperations
        let writer = WebSocketFrameWriter(masks: !isServer)
        let handler = WebSocketHandler(
            configuration: configuration,
            isServer: isServer,
            writer: writer,
            onMessage: events.onMessage,
            onBinary: events.onBinary,
            onBurstEnd: events.onBurstEnd,
            onWritabilityChange: events.onWritabilityChange,
            onClose: events.onClose
        )
        // Below the encoder, whose own masking it replaces.
        try operations.addHandler(writer, position: .before(operations.handler(type: WebSocketFrameEncoder.self)))
        try operations.addHandler(handler)
        return WebSocket(channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
    }

    /// The same for a channel with nothing in its pipeline, as if the handshake were done.
    package static func attach(
        toBare channel: any Channel,
        configuration: WebSocketConfiguration,
        isServer: Bool,
        events: Events
    ) throws -> WebSocket {
        try channel.pipeline.syncOperations.addHandler(WebSocketFrameEncoder())
        try channel.pipeline.syncOperations.addHandler(
            ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: configuration.maximumMessageLength))
        )
        return try Self.attach(to: channel, configuration: configuration, isServer: isServer, events: events)
    }

    public var eventLoop: any EventLoop { self.channel.eventLoop }

    /// The other end.
    public var remoteAddress: SocketAddress? { self.channel.remoteAddress }

    /// Whether the send buffer has room.
    public var isWritable: Bool { self.channel.isWritable }

    /// Bytes written and not yet taken by the kernel.
    public var bufferedBytes: Int {
        (try? self.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// Sends a text message whose payload is `parts` in order; they are not joined first by a server.
    public func sendText(_ parts: [ByteBuffer], promise: EventLoopPromise<Void>? = nil) {
        self.handler.value.sendText(parts, promise: promise)
    }

    /// Sends a text message.
    public func sendText(_ text: ByteBuffer, promise: EventLoopPromise<Void>? = nil) {
        self.handler.value.sendText([text], promise: promise)
    }

    /// Sends a binary message.
    package func sendBinary(_ data: ByteBuffer) {
        self.handler.value.sendBinary(data)
    }

    /// Says goodbye and closes, at the latest after ``WebSocketConfiguration/closeTimeout``.
    public func close() {
        self.handler.value.close(code: .goingAway)
    }

    /// Closes because the other side broke a limit of this one.
    public func closeForPolicyViolation() {
        self.handler.value.close(code: .policyViolation)
    }

    /// Closes without a word, dropping what is buffered.
    public func abort() {
        self.channel.close(promise: nil)
    }

    /// What came now was not worth its time: reading pauses for a multiple of it, so that who sends nonsense at full rate does
    /// not keep the loop from other connections.
    public func noteWaste() {
        self.handler.value.noteWaste()
    }
}
