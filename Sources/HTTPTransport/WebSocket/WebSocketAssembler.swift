//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOWebSocket

/// Checks received frames and joins them into messages (RFC 6455, sections 5 and 7.4). It performs no I/O.
struct WebSocketAssembler {
    /// The result of a received frame.
    enum Output {
        /// There is nothing to do: the frame is a pong, or a fragment of an incomplete message.
        case nothing
        case text(WebSocketText)
        case binary(ByteBuffer)
        case ping(ByteBuffer)
        case close(WebSocketErrorCode?, WebSocketCloseReason)
    }

    /// Why the connection must be closed.
    struct Violation: Error {
        let code: WebSocketErrorCode
        let reason: WebSocketCloseReason

        static let tooLong = Violation(code: .messageTooLarge, reason: .messageTooLong)

        static func protocolError(_ text: String) -> Violation {
            Violation(code: .protocolError, reason: .protocolViolation(text))
        }

        static func encoding(_ text: String) -> Violation {
            Violation(code: .dataInconsistentWithMessage, reason: .protocolViolation(text))
        }
    }

    private let isServer: Bool
    private let maximumLength: Int
    private let validatesUTF8: Bool
    /// Decompresses messages. Nil if the sides have not agreed on compressed messages.
    private let inflater: MessageInflater?
    /// The fragments received so far of an incomplete message.
    private var fragments: (opcode: WebSocketOpcode, data: ByteBuffer, isCompressed: Bool)?
    /// Number of bytes of the text of the last frame, which zlib has decompressed; 0 if the frame did not complete such a message.
    private(set) var inflatedBytes = 0

    /// - Parameters:
    ///   - isServer: Whether this side is the server. Received frames must then be masked; otherwise they must not be.
    ///   - maximumLength: Maximum length of a message in bytes.
    ///   - validatesUTF8: Whether text must be valid UTF-8.
    ///   - deflate: What the sides have agreed on; nil if messages must not be compressed.
    init(isServer: Bool, maximumLength: Int, validatesUTF8: Bool, deflate: DeflateExtension?) {
        self.inflater = deflate.map { MessageInflater(keepsContext: $0.peerKeepsContext) }
        self.isServer = isServer
        self.maximumLength = maximumLength
        self.validatesUTF8 = validatesUTF8
    }

    mutating func receive(_ frame: WebSocketFrame) throws(Violation) -> Output {
        self.inflatedBytes = 0
        // Only the first frame of a message says that it is compressed.
        let mayBeCompressed = self.inflater != nil && (frame.opcode == .text || frame.opcode == .binary)
        guard !frame.rsv1 || mayBeCompressed, !frame.rsv2, !frame.rsv3 else {
            throw .protocolError("a reserved bit is set")
        }
        guard self.isServer == (frame.maskKey != nil) else {
            throw .protocolError(self.isServer ? "unmasked frame" : "masked frame")
        }
        // The frame's data shares its memory with what was read, so it would be copied before it is changed in place.
        var payload = frame.maskKey.map { frame.data.webSocketUnmasked($0) } ?? frame.data
        switch frame.opcode {
        case .text, .binary:
            guard self.fragments == nil else { throw .protocolError("new message before the end of the last") }
            if frame.fin { return try self.message(frame.opcode, payload, isCompressed: frame.rsv1) }
            self.fragments = (frame.opcode, payload, frame.rsv1)
            return .nothing
        case .continuation:
            guard let (opcode, length) = self.fragments.map({ ($0.opcode, $0.data.readableBytes) }) else {
                throw .protocolError("unexpected continuation frame")
            }
            guard length + payload.readableBytes <= self.maximumLength else { throw .tooLong }
            // Append in place. Copying the message for each fragment would take quadratic time.
            self.fragments?.data.writeBuffer(&payload)
            guard frame.fin, let (_, data, isCompressed) = self.fragments else { return .nothing }
            self.fragments = nil
            return try self.message(opcode, data, isCompressed: isCompressed)
        case .ping: return .ping(payload)
        case .pong: return .nothing
        case .connectionClose: return try Self.close(payload)
        default: throw .protocolError("unknown opcode")
        }
    }

    private mutating func message(
        _ opcode: WebSocketOpcode,
        _ payload: ByteBuffer,
        isCompressed: Bool
    ) throws(Violation) -> Output {
        guard payload.readableBytes <= self.maximumLength else { throw .tooLong }
        var content = payload
        var compressed: CompressedText?
        if isCompressed { (content, compressed) = try self.decompress(payload) }
        guard opcode == .text else { return .binary(content) }
        if self.validatesUTF8 {
            do {
                _ = try UTF8Span(validating: content.readableBytesUInt8Span)
            } catch {
                throw .encoding("text is not valid UTF-8")
            }
        }
        return .text(WebSocketText([content], compressed: compressed))
    }

    private mutating func decompress(
        _ payload: ByteBuffer
    ) throws(Violation) -> (content: ByteBuffer, compressed: CompressedText?) {
        do throws(DeflatedMessage.DecodingError) {
            // A message that refers to earlier ones does not have this form, and one of this form refers to none. The next message
            // may refer to it, though.
            guard self.inflater?.keepsContext == false else { throw .otherForm }
            let (text, compressed) = try DeflatedMessage.decode(payload, limit: self.maximumLength)
            return (text, compressed)
        } catch {
            if error == .tooLong { throw .tooLong }
        }
        do throws(MessageInflater.Failure) {
            guard let inflater else { throw .invalid }
            let content = try inflater.inflate(payload, limit: self.maximumLength)
            self.inflatedBytes = content.readableBytes
            return (content, nil)
        } catch {
            switch error {
            case .tooLong: throw .tooLong
            case .invalid: throw .encoding("a compressed message is invalid")
            }
        }
    }

    private static func close(_ payload: ByteBuffer) throws(Violation) -> Output {
        var payload = payload
        guard payload.readableBytes != 1 else { throw .protocolError("truncated close code") }
        let code = payload.readInteger(as: UInt16.self)
        if let code, !Self.isValidCloseCode(code) { throw .protocolError("invalid close code") }
        guard let reason = String(validating: payload.readableBytesView, as: UTF8.self) else {
            throw .encoding("close reason is not UTF-8")
        }
        return .close(
            code.map { WebSocketErrorCode(codeNumber: Int($0)) },
            .closedByPeer(code: code, reason: reason)
        )
    }

    /// Whether a close frame may contain `code` (RFC 6455, section 7.4, and 1012 to 1014 of the IANA registry).
    private static func isValidCloseCode(_ code: UInt16) -> Bool {
        switch code {
        case 1000...1003, 1007...1014, 3000...4999: true
        default: false
        }
    }
}
