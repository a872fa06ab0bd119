//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// A message with which client and exit agree on the keys of the next generation. It is carried by CRYPTO frames.
package struct KeyUpdate: Hashable, Sendable {
    /// What differs between the sides.
    package enum Content: Hashable, Sendable {
        /// The client's ML-KEM-768 key.
        case client(encapsulationKey: [UInt8])
        /// The ciphertext for the client's key, and the exit's signature (``SessionTranscript/exitSignedHash``).
        case exit(ciphertext: [UInt8], SchnorrSignature)
    }

    package let generation: Int
    /// The sender's session key of the generation.
    package let key: PublicKey
    package let content: Content

    /// The longest encoded message in bytes.
    static let maximumLength = 2_048

    private enum MessageType {
        static let client: UInt64 = 1
        static let exit: UInt64 = 2
    }

    package init(generation: Int, key: PublicKey, content: Content) {
        self.generation = generation
        self.key = key
        self.content = content
    }

    /// The part that a transcript covers: everything but the exit's signature.
    package var transcribed: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeVariableLengthInteger(UInt64(self.generation))
        buffer.writeBytes(self.key.bytes.bytes)
        switch self.content {
        case .client(let encapsulationKey): buffer.writeBytes(encapsulationKey)
        case .exit(let ciphertext, _): buffer.writeBytes(ciphertext)
        }
        return Array(buffer.readableBytesView)
    }

    /// The encoded message: type, length, and the fields.
    package var encoded: [UInt8] {
        var buffer = ByteBuffer()
        switch self.content {
        case .client:
            buffer.writeVariableLengthInteger(MessageType.client)
            buffer.writePrefixed(self.transcribed)
        case .exit(_, let signature):
            buffer.writeVariableLengthInteger(MessageType.exit)
            buffer.writePrefixed(self.transcribed + signature.bytes)
        }
        return Array(buffer.readableBytesView)
    }

    /// Removes the next message from received bytes. Returns nil if it is not complete.
    ///
    /// - Throws: ``SessionViolation`` if the message is malformed, too long, or of an unknown type.
    static func next(_ bytes: inout ByteBuffer) throws(SessionViolation) -> KeyUpdate? {
        var buffer = bytes
        guard let type = buffer.readVariableLengthInteger(), let length = buffer.readVariableLengthInteger() else {
            return nil
        }
        guard type == MessageType.client || type == MessageType.exit, length <= UInt64(Self.maximumLength) else {
            throw SessionViolation()
        }
        guard var fields = buffer.readSlice(length: Int(length)) else { return nil }
        let secretLength = type == MessageType.client ? KeyEncapsulation.keyLength : KeyEncapsulation.ciphertextLength
        guard let generation = fields.readVariableLengthInteger().flatMap(Int.init(exactly:)),
            let key = fields.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
            let secret = fields.readBytes(length: secretLength)
        else { throw SessionViolation() }
        let content: Content
        if type == MessageType.client {
            content = .client(encapsulationKey: secret)
        } else {
            guard
                let signature = fields.readBytes(length: SchnorrSignature.length).flatMap({ SchnorrSignature($0) })
            else { throw SessionViolation() }
            content = .exit(ciphertext: secret, signature)
        }
        let update = KeyUpdate(generation: generation, key: PublicKey(unchecked: key), content: content)
        // Integers must have their shortest form, because the transcript is made of the message as this side encodes it.
        let consumed = bytes.readableBytes - buffer.readableBytes
        guard fields.readableBytes == 0, bytes.readableBytesView.prefix(consumed).elementsEqual(update.encoded) else {
            throw SessionViolation()
        }
        bytes = buffer
        return update
    }
}
