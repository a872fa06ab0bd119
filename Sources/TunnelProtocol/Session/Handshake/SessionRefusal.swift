//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// An exit's rejection: it does not accept the offer, or it does not know the session that the client asked for. All
/// versions of the protocol share this format.
package struct SessionRefusal: Hashable, Sendable {
    /// The reason of the rejection.
    package let reason: StreamEnd
    /// The versions that the exit speaks.
    package let versions: [UInt64]
    /// The signed part.
    package let body: [UInt8]
    package let signature: SchnorrSignature

    /// Maximum number of versions.
    private static let maximumVersions = 8

    /// Creates and signs a refusal.
    ///
    /// - Parameters:
    ///   - key: The exit's long-term key.
    ///   - offerHash: ``VersionedOffer/hash(exit:client:uuid:)``.
    ///   - fresh: The author of the event, a key that is used once.
    package init(
        _ reason: StreamEnd,
        signedBy key: SecretKey,
        offerHash: Bytes32,
        fresh: PublicKey
    ) throws(CryptoError) {
        var buffer = ByteBuffer()
        buffer.writeInteger(PlaintextKind.refusal.rawValue)
        buffer.writeVariableLengthInteger(reason.code)
        buffer.writeVariableLengthInteger(1)
        buffer.writeVariableLengthInteger(SessionConfiguration.version)
        self.reason = reason
        self.versions = [SessionConfiguration.version]
        self.body = Array(buffer.readableBytesView)
        self.signature = try key.sign(Self.signedHash(offerHash: offerHash, fresh: fresh, body: self.body))
    }

    init?(plaintext: [UInt8]) {
        let body = Array(plaintext.dropLast(SchnorrSignature.length))
        var buffer = ByteBuffer(bytes: body)
        guard let signature = SchnorrSignature(Array(plaintext.suffix(SchnorrSignature.length))),
            buffer.readInteger(as: UInt8.self) == PlaintextKind.refusal.rawValue,
            let code = buffer.readVariableLengthInteger(), let count = buffer.readVariableLengthInteger(),
            count <= UInt64(Self.maximumVersions)
        else { return nil }
        var versions: [UInt64] = []
        for _ in 0..<count {
            guard let version = buffer.readVariableLengthInteger() else { return nil }
            versions.append(version)
        }
        guard buffer.readableBytes == 0 else { return nil }
        self.reason = StreamEnd(code: code)
        self.versions = versions
        self.body = body
        self.signature = signature
    }

    /// The plaintext of the refusal.
    package var encoded: [UInt8] { self.body + self.signature.bytes }

    static func signedHash(offerHash: Bytes32, fresh: PublicKey, body: [UInt8]) -> Bytes32 {
        .tagged("nws/refusal", [offerHash.bytes, fresh.bytes.bytes, body])
    }
}
