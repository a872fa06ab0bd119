//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NIOWebSocket

/// An open WebSocket connection, as client or server.
///
/// Call every method on ``eventLoop``.
package struct WebSocket: Sendable {
    /// Callbacks for a connection. They run on its event loop. None is called after ``onClose``.
    package struct Events: Sendable {
        /// Called with each complete message. Text and binary messages are not distinguished, unless ``onBinary`` is
        /// set.
        package var onMessage: @Sendable (ByteBuffer) -> Void
        /// Called with each complete text message, and what is known of its compressed form. If nil, text messages go to
        /// ``onMessage``.
        package var onText: (@Sendable (WebSocketText) -> Void)?
        /// Called with each complete binary message. If nil, binary messages go to ``onMessage``.
        package var onBinary: (@Sendable (ByteBuffer) -> Void)?
        /// Called before the first frame of a read is handled, whatever its kind.
        package var onBurstStart: (@Sendable () -> Void)?
        /// Called after all messages of one read have been delivered.
        package var onBurstEnd: (@Sendable () -> Void)?
        /// Called with false when the send buffer is full, and with true when it has drained.
        package var onWritabilityChange: @Sendable (Bool) -> Void
        /// Called once, when the connection has ended.
        package var onClose: @Sendable (WebSocketCloseReason) -> Void

        /// Creates callbacks. ``onText``, ``onBinary``, ``onBurstStart`` and ``onBurstEnd`` are nil.
        package init(
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

    /// Adds the WebSocket handlers to a channel whose pipeline ends with NIO's frame encoder and decoder.
    static func attach(
        to channel: any Channel,
        configuration: WebSocketConfiguration,
        isServer: Bool,
        deflate: DeflateExtension?,
        events: Events
    ) throws -> WebSocket {
        let operations = channel.pipeline.syncOperations
        let writer = WebSocketFrameWriter(masks: !isServer, deflates: deflate != nil)
        let handler = WebSocketHandler(
            configuration: configuration,
            isServer: isServer,
            deflate: deflate,
            writer: writer,
            events: events
        )
        // The writer bypasses the frame encoder, so it must sit between the encoder and the socket.
        try operations.addHandler(writer, position: .before(operations.handler(type: WebSocketFrameEncoder.self)))
        try operations.addHandler(handler)
        return WebSocket(channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop))
    }

    /// Adds frame encoder, frame decoder and WebSocket handlers to an empty pipeline. No HTTP handshake takes place.
    ///
    /// - Parameter takesCompressed: Whether both sides take compressed messages.
    package static func attach(
        toBare channel: any Channel,
        configuration: WebSocketConfiguration,
        isServer: Bool,
        takesCompressed: Bool = false,
        events: Events
    ) throws -> WebSocket {
        try channel.pipeline.syncOperations.addHandler(WebSocketFrameEncoder())
        try channel.pipeline.syncOperations.addHandler(
            ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: configuration.maximumMessageLength))
        )
        return try Self.attach(
            to: channel,
            configuration: configuration,
            isServer: isServer,
            deflate: takesCompressed ? DeflateExtension(peerKeepsContext: false) : nil,
            events: events
        )
    }

    /// The event loop of the connection.
    package var eventLoop: any EventLoop { self.channel.eventLoop }

    /// The address of the TCP peer, or nil if it is not known.
    package var remoteAddress: SocketAddress? { self.channel.remoteAddress }

    /// Whether the send buffer is below its high-water mark.
    package var isWritable: Bool { self.channel.isWritable }

    /// Number of bytes that were written to the connection but not yet to the kernel.
    package var bufferedBytes: Int {
        (try? self.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    /// Sends a text message whose payload is the concatenation of `parts`.
    ///
    /// A server writes the parts without copying them. A client copies them, because it must mask the payload.
    ///
    /// - Parameters:
    ///   - parts: Buffers that together are UTF-8 text. This is not checked.
    ///   - promise: Completed when the message was written to the kernel. Fails if the connection is not open.
    package func sendText(_ parts: [ByteBuffer], promise: EventLoopPromise<Void>? = nil) {
        self.handler.value.sendText(WebSocketText(parts), promise: promise)
    }

    /// Sends a text message.
    ///
    /// - Parameters:
    ///   - text: UTF-8 text. This is not checked.
    ///   - promise: Completed when the message was written to the kernel. Fails if the connection is not open.
    package func sendText(_ text: ByteBuffer, promise: EventLoopPromise<Void>? = nil) {
        self.handler.value.sendText(WebSocketText([text]), promise: promise)
    }

    /// Sends a text message, of which a part is compressed if its compressed form is known and the peer takes that.
    package func sendText(_ text: WebSocketText) { self.handler.value.sendText(text) }

    /// Sends a text message, of which a part is compressed if the peer takes that.
    ///
    /// - Parameters:
    ///   - text: UTF-8 text. This is not checked.
    ///   - base64: The place of base64 characters in the text, in bytes from its start. If there are other characters, or few, the
    ///     message is sent as it is. If nothing else refers to the text, and there is room before it for the header of a frame
    ///     (14 bytes), it is masked in place.
    package func sendText(_ text: consuming ByteBuffer, compressing base64: Range<Int>) {
        self.handler.value.sendText(text, compressing: base64)
    }

    /// Sends a binary message. Does nothing if the connection is not open.
    package func sendBinary(_ data: ByteBuffer) {
        self.handler.value.sendBinary(data)
    }

    /// Starts the closing handshake with status 1001 (going away).
    ///
    /// The connection is closed after ``WebSocketConfiguration/closeTimeout`` if the peer does not answer.
    package func close() {
        self.handler.value.close(code: .goingAway)
    }

    /// Starts the closing handshake with status 1008 (policy violation), because the peer exceeded a limit.
    package func closeForPolicyViolation() {
        self.handler.value.close(code: .policyViolation)
    }

    /// Sends a ping.
    package func ping() { self.handler.value.ping() }

    /// Whether the peer has answered a ping.
    package var hasAnsweredPing: Bool { self.handler.value.hasAnsweredPing }

    /// The address of this machine, or nil if it is not known.
    package var localAddress: SocketAddress? { self.channel.localAddress }

    /// Whether the TCP peer, or the network, does not answer: something that was sent again is not acknowledged, and no
    /// acknowledgement has arrived for `timeout`, nor for the time that TCP needs to send a lost segment again: its least
    /// retransmission timeout (RFC 6298, 200 ms on Linux) and four round trips. False if this is not known.
    package func isUnacknowledged(for timeout: TimeAmount) -> EventLoopFuture<Bool> {
        #if os(Linux)
        guard let information = TCPInfo.of(self.channel) else { return self.eventLoop.makeSucceededFuture(false) }
        return information.map {
            let since = TimeAmount.milliseconds(Int64($0.millisecondsSinceAcknowledgement))
            let roundTrip = TimeAmount.microseconds(Int64($0.roundTripMicroseconds))
            let repetition = TimeAmount.milliseconds(200) + .nanoseconds(4 * roundTrip.nanoseconds)
            return $0.unacknowledgedSegments > 0 && $0.retransmissionTimeouts > 0 && since >= max(timeout, repetition)
        }
        #else
        return self.eventLoop.makeSucceededFuture(false)
        #endif
    }

    /// Closes the connection without a closing handshake. Buffered data is discarded.
    package func abort() {
        self.channel.close(promise: nil)
    }

    /// Reports that the current read contained useless input, such as malformed or rate-limited messages.
    ///
    /// Reading then pauses for four times the processing time of the read, at most 1 s. A client that floods the server
    /// with such input therefore cannot starve other connections on the event loop.
    package func noteWaste() {
        self.handler.value.noteWaste()
    }
}
