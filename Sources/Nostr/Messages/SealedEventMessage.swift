//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// An EVENT message with encrypted content (NIP-44). It is encrypted, encoded, hashed and signed in one buffer, which the WebSocket
/// connection masks and sends.
package struct SealedEventMessage: Sendable {
    package let id: EventID
    /// The message. There is room for the header of a WebSocket frame before it.
    package private(set) var message: ByteBuffer
    /// The place of the content in the message, in bytes from its start.
    package let content: Range<Int>

    /// Number of bytes before the message.
    private static let room = 16
    /// Maximum number of bytes of an EVENT message besides content and tags.
    private static let overhead = 640

    /// Takes a message that was made otherwise.
    package init(id: EventID, message: ByteBuffer, content: Range<Int>) {
        self.id = id
        self.message = message
        self.content = content
    }

    /// Encrypts `plaintext` and signs the event that contains it.
    ///
    /// - Parameters:
    ///   - plaintext: What the recipient gets.
    ///   - conversation: The key for it.
    ///   - key: The author.
    ///   - createdAt: The time of the event in seconds since 1970.
    ///   - kind: The kind of the event.
    ///   - tags: The tags of the event.
    /// - Throws: ``NIP44Error`` if the message is empty or too long, or ``CryptoError`` if signing fails.
    package init(
        _ plaintext: ByteBuffer,
        conversation: ConversationKey,
        by key: SecretKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag]
    ) throws {
        let length = NIP44.payloadLength(plaintextLength: plaintext.readableBytes)
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Self.room + Self.overhead + length)
        buffer.moveWriterIndex(to: Self.room)
        buffer.moveReaderIndex(to: Self.room)
        buffer.writeStaticString("[\"EVENT\",{\"id\":\"")
        let idPlace = buffer.writerIndex
        buffer.writeRepeatingByte(UInt8(ascii: "0"), count: 2 * Bytes32.count)
        buffer.writeStaticString("\",")
        Event.writeMembers(pubkey: key.publicKey, createdAt: createdAt, kind: kind, tags: tags, into: &buffer)
        buffer.writeStaticString(",\"content\":\"")
        let start = buffer.readableBytes
        var hash = EventHash(pubkey: key.publicKey, createdAt: createdAt, kind: kind, tags: tags)
        try buffer.writeWithOutputRawSpan(minimumWritableBytes: length) { output throws(NIP44Error) in
            try conversation.seal(plaintext.readableBytesSpan, nonce: .random(), to: &output) { hash.update($0) }
        }
        self.content = start..<buffer.readableBytes
        let id = hash.finalize()
        self.id = EventID(id)
        buffer.writeStaticString("\",\"sig\":\"")
        buffer.writeHex(try key.sign(id).bytes)
        buffer.writeStaticString("\"}]")
        buffer.setBytes(id.hex.utf8, at: idPlace)
        self.message = buffer
    }

    /// Removes and returns the message, so that nothing else refers to its bytes and they can be changed in place.
    package mutating func takeMessage() -> ByteBuffer {
        let message = self.message
        self.message = ByteBuffer()
        return message
    }
}
