//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOWebSocket

/// Encodes and writes WebSocket frames in place of NIO's frame encoder.
///
/// A server can send one message from several buffers without copying, so a relay can share the bytes of an event among
/// many subscribers. A client masks its frames faster than with NIO. Other outbound data passes through unchanged.
final class WebSocketFrameWriter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let masks: Bool
    /// Whether the peer takes compressed messages.
    private let deflates: Bool
    private var context: ChannelHandlerContext?
    private var generator = SystemRandomNumberGenerator()

    /// - Parameters:
    ///   - masks: Whether to mask frames. Clients must, servers must not (RFC 6455, section 5.1).
    ///   - deflates: Whether the peer takes compressed messages.
    init(masks: Bool, deflates: Bool) {
        self.masks = masks
        self.deflates = deflates
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    /// Writes a text message, of which a part is compressed if the peer takes that and its compressed form is known. Does not flush.
    func write(_ text: WebSocketText, promise: EventLoopPromise<Void>? = nil) {
        guard self.deflates, let parts = DeflatedMessage.encode(text) else {
            return self.write(.text, text.parts, promise: promise)
        }
        self.write(.text, parts, isCompressed: true, promise: promise)
    }

    /// Writes a text message, and compresses a part of it if the peer takes that. Does not flush.
    ///
    /// - Parameters:
    ///   - text: The message.
    ///   - base64: The place of base64 characters in the message.
    func write(_ text: consuming ByteBuffer, compressing base64: Range<Int>) {
        if self.deflates, let compressed = DeflatedMessage.compress(base64, of: text) {
            return self.write(WebSocketText([text], compressed: compressed))
        }
        guard self.masks, let context = self.context, Self.writeHead(.text, before: &text, using: &self.generator)
        else {
            return self.write(.text, [text])
        }
        context.write(Self.wrapOutboundOut(text), promise: nil)
    }

    /// Masks a payload, and writes the header of its frame into the room before it. Returns false if there is no room.
    private static func writeHead(
        _ opcode: WebSocketOpcode,
        before payload: inout ByteBuffer,
        using generator: inout SystemRandomNumberGenerator
    ) -> Bool {
        let key = WebSocketMaskingKey.random(using: &generator)
        var head = Self.head(opcode, length: payload.readableBytes, masks: true, isCompressed: false)
        head.writeBytes(key)
        let start = payload.readerIndex - head.readableBytes
        guard start >= 0 else { return false }
        payload.applyWebSocketMask(key)
        payload.moveReaderIndex(to: start)
        payload.setBuffer(head, at: start)
        return true
    }

    private static func head(
        _ opcode: WebSocketOpcode,
        length: Int,
        masks: Bool,
        isCompressed: Bool,
        capacity: Int = 14
    ) -> ByteBuffer {
        var head = ByteBuffer()
        head.reserveCapacity(capacity)
        // FIN; RSV1 if the message is compressed (RFC 7692, section 6).
        head.writeInteger((isCompressed ? 0xc0 : 0x80) | UInt8(webSocketOpcode: opcode))
        let maskBit: UInt8 = masks ? 0x80 : 0
        switch length {
        case ..<126:
            head.writeInteger(maskBit | UInt8(length))
        case ..<65_536:
            head.writeInteger(maskBit | 126)
            head.writeInteger(UInt16(length))
        default:
            head.writeInteger(maskBit | 127)
            head.writeInteger(UInt64(length))
        }
        return head
    }

    /// Writes one unfragmented frame whose payload is the concatenation of `parts`. Does not flush.
    func write(
        _ opcode: WebSocketOpcode,
        _ parts: [ByteBuffer],
        isCompressed: Bool = false,
        promise: EventLoopPromise<Void>? = nil
    ) {
        guard let context = self.context else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        let length = parts.reduce(0) { $0 + $1.readableBytes }
        var head = Self.head(
            opcode,
            length: length,
            masks: self.masks,
            isCompressed: isCompressed,
            capacity: self.masks ? length + 14 : 10
        )
        guard self.masks else {
            guard let last = parts.last(where: { $0.readableBytes > 0 }) else {
                context.write(Self.wrapOutboundOut(head), promise: promise)
                return
            }
            context.write(Self.wrapOutboundOut(head), promise: nil)
            for part in parts.dropLast() where part.readableBytes > 0 {
                context.write(Self.wrapOutboundOut(part), promise: nil)
            }
            context.write(Self.wrapOutboundOut(last), promise: promise)
            return
        }
        let key = WebSocketMaskingKey.random(using: &self.generator)
        head.writeBytes(key)
        let start = head.writerIndex
        for part in parts {
            head.writeImmutableBuffer(part)
        }
        // Mask only the payload, then write header and payload as one buffer.
        head.moveReaderIndex(to: start)
        head.applyWebSocketMask(key)
        head.moveReaderIndex(to: 0)
        context.write(Self.wrapOutboundOut(head), promise: promise)
    }

    /// Flushes all frames written so far.
    func flush() {
        self.context?.flush()
    }
}
