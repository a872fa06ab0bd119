//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// The offer of a session, in the format that all versions of the protocol share: member `nws` of CONNECT and OFFER.
///
/// It contains a body for each version that the client speaks. The exit chooses one of them.
package struct VersionedOffer: Hashable, Sendable {
    /// The offer in one version.
    package struct Body: Hashable, Sendable {
        package let version: UInt64
        package let bytes: [UInt8]

        package init(version: UInt64, bytes: [UInt8]) {
            self.version = version
            self.bytes = bytes
        }
    }

    /// Length of the nonce in bytes. It makes each offer unique.
    package static let nonceLength = 16
    /// Maximum number of versions.
    static let maximumVersions = 8
    /// Maximum length of an encoded offer in bytes.
    static let maximumLength = 16_384

    /// The bodies in ascending order of their versions.
    package let bodies: [Body]
    /// Proves that the exit knows the client. Nil if the offer contains no proof, or one of an unknown kind.
    package private(set) var proof: OfferProof?
    /// The encoded offer. The exit's answer is bound to exactly these bytes.
    package private(set) var encoded: [UInt8]
    /// Length of the part that a proof covers: everything before the proof.
    private let provenLength: Int

    /// Creates an offer without a proof.
    ///
    /// - Parameter nonce: ``nonceLength`` random bytes.
    package init(nonce: [UInt8], bodies: [Body]) {
        var buffer = ByteBuffer()
        buffer.writeBytes(nonce)
        buffer.writeVariableLengthInteger(UInt64(bodies.count))
        for body in bodies {
            buffer.writeVariableLengthInteger(body.version)
            buffer.writePrefixed(body.bytes)
        }
        self.bodies = bodies
        self.encoded = Array(buffer.readableBytesView)
        self.provenLength = self.encoded.count
    }

    /// Decodes an offer. Returns nil if it is malformed.
    package init?(encoded: [UInt8]) {
        guard encoded.count <= Self.maximumLength else { return nil }
        var buffer = ByteBuffer(bytes: encoded)
        guard buffer.readBytes(length: Self.nonceLength) != nil, let count = buffer.readVariableLengthInteger(),
            (1...UInt64(Self.maximumVersions)).contains(count)
        else { return nil }
        var bodies: [Body] = []
        for _ in 0..<count {
            guard let version = buffer.readVariableLengthInteger(), let bytes = buffer.readPrefixedBytes(),
                bodies.last.map({ $0.version < version }) ?? true
            else { return nil }
            bodies.append(Body(version: version, bytes: bytes))
        }
        self.bodies = bodies
        self.encoded = encoded
        self.provenLength = encoded.count - buffer.readableBytes
        let rest = Array(buffer.readableBytesView)
        if let kind = rest.first, Credential.Kind(rawValue: kind) != nil {
            guard let proof = OfferProof(encoded: rest) else { return nil }
            self.proof = proof
        }
    }

    /// The body of a version; nil if the client does not speak it.
    package func body(of version: UInt64) -> [UInt8]? { self.bodies.first { $0.version == version }?.bytes }

    /// The hash that identifies this offer of a client to an exit. The exit's answer is bound to it.
    ///
    /// - Parameters:
    ///   - exit: The exit's long-term public key.
    ///   - client: The client's session key, which is the author of the offer.
    ///   - uuid: The UUID of the CONNECT or OFFER.
    package func hash(exit: PublicKey, client: PublicKey, uuid: String) -> Bytes32 {
        .tagged("nws/offer", [exit.bytes.bytes, client.bytes.bytes, Array(uuid.utf8), self.encoded])
    }

    // MARK: Proof

    /// Adds a proof, if there is none.
    ///
    /// - Parameters:
    ///   - credential: What the client shares with the exit.
    ///   - date: Seconds since 1970.
    package mutating func prove(
        with credential: Credential,
        exit: PublicKey,
        client: PublicKey,
        uuid: String,
        at date: Int64
    ) {
        guard self.encoded.count == self.provenLength else { return }
        let hint = credential.kind == .ticket ? credential.ticketHint : credential.hint(at: date)
        var proof = OfferProof(kind: credential.kind.rawValue, date: date, hint: hint, code: .zero)
        proof.code = credential.proof(of: self.provenMessage(proof, exit: exit, client: client, uuid: uuid))
        self.proof = proof
        self.encoded += proof.encoded
    }

    /// Returns whether the proof of this offer was made with a credential. False without a proof.
    package func isProven(by credential: Credential, exit: PublicKey, client: PublicKey, uuid: String) -> Bool {
        guard let proof, proof.kind == credential.kind.rawValue else { return false }
        let message = self.provenMessage(proof, exit: exit, client: client, uuid: uuid)
        return credential.isValid(proof.code, of: message)
    }

    private func provenMessage(_ proof: OfferProof, exit: PublicKey, client: PublicKey, uuid: String) -> [UInt8] {
        lengthPrefixed([
            Array("nws/offer-proof".utf8), proof.authenticatedFields, exit.bytes.bytes, client.bytes.bytes,
            Array(uuid.utf8), Array(self.encoded.prefix(self.provenLength)),
        ])
    }
}
