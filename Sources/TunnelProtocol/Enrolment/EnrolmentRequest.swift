//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// What a device sends to be enrolled with an exit, in a session that it opened with an invite (docs/PROTOCOL.md).
///
/// It is all that the device sends in a stream to port 0. The signature proves that the device has the secret key of its
/// identity, and is bound to the session.
package struct EnrolmentRequest: Hashable, Sendable {
    /// What follows from the invite's secret.
    package let token: Bytes32
    /// The key by which the exit is to know the device.
    package let identity: PublicKey
    /// The signature of that key. It is not verified until ``isProven(by:)`` is called.
    package let signature: SchnorrSignature
    /// The name that the device suggests for itself, as it was received. See ``DeviceName``.
    package let name: String

    /// Maximum length of ``name`` in bytes.
    package static let maximumNameLength = 64
    /// Maximum length of an encoded request in bytes.
    package static let maximumLength = 2 * Bytes32.count + SchnorrSignature.length + 1 + Self.maximumNameLength

    private init(token: Bytes32, identity: PublicKey, signature: SchnorrSignature, name: String) {
        self.token = token
        self.identity = identity
        self.signature = signature
        self.name = name
    }

    /// Creates a signed request.
    ///
    /// - Parameters:
    ///   - token: What follows from the invite's secret.
    ///   - identity: The device's key.
    ///   - name: The name of the device. What exceeds ``maximumNameLength`` bytes is left out.
    ///   - transcript: The transcript of the session's handshake.
    /// - Throws: ``CryptoError`` if signing fails, which does not happen with a valid key.
    package init(
        token: Bytes32,
        identity: SecretKey,
        name: String,
        transcript: SessionTranscript
    ) throws(CryptoError) {
        var name = name
        while name.utf8.count > Self.maximumNameLength { name.removeLast() }
        self.init(
            token: token,
            identity: identity.publicKey,
            signature: try identity.sign(Self.signedHash(transcript, token: token, name: name)),
            name: name
        )
    }

    /// Returns whether the signature is valid for a session.
    package func isProven(by transcript: SessionTranscript) -> Bool {
        self.identity.verify(
            self.signature,
            of: Self.signedHash(transcript, token: self.token, name: self.name)
        )
    }

    /// What the device signs.
    static func signedHash(_ transcript: SessionTranscript, token: Bytes32, name: String) -> Bytes32 {
        .tagged("nws/session/1/enrolment", [transcript.hash.bytes, token.bytes, Array(name.utf8)])
    }

    /// The request as bytes: token, identity, signature, and the name with its length.
    package var encoded: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeBytes(self.token.bytes)
        buffer.writeBytes(self.identity.bytes.bytes)
        buffer.writeBytes(self.signature.bytes)
        buffer.writeInteger(UInt8(self.name.utf8.count))
        buffer.writeString(self.name)
        return Array(buffer.readableBytesView)
    }

    /// Decodes a request. Returns nil if it is malformed.
    package init?(encoded: ByteBuffer) {
        var buffer = encoded
        guard let token = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
            let identity = buffer.readBytes(length: Bytes32.count).flatMap({ Bytes32($0) }),
            let signature = buffer.readBytes(length: SchnorrSignature.length).flatMap({ SchnorrSignature($0) }),
            let length = buffer.readInteger(as: UInt8.self), length <= Self.maximumNameLength,
            let bytes = buffer.readBytes(length: Int(length)), buffer.readableBytes == 0,
            let name = String(validating: bytes, as: UTF8.self)
        else { return nil }
        self.init(token: token, identity: PublicKey(unchecked: identity), signature: signature, name: name)
    }
}
