//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// An exit's answer to a session offer: the first plaintext between the session keys of exit and client.
///
/// The body is followed by a BIP-340 signature of the exit's long-term key, which authenticates the exit's session key.
package enum SessionAnswer: Hashable, Sendable {
    /// The exit accepts the offer.
    case accepted(SessionAcceptance)
    /// The exit rejects the offer, or does not know the session.
    case refused(SessionRefusal)

    /// Length of the signature after the body, in bytes.
    package static let signatureLength = 64

    /// Decodes a body. Returns nil if it is malformed.
    package init?(body: [UInt8]) {
        var buffer = ByteBuffer(bytes: body)
        guard let byte = buffer.readInteger(as: UInt8.self), let prefix = try? SessionPrefix(byte: byte),
            prefix.isFromExit
        else { return nil }
        switch prefix.kind {
        case .packet:
            return nil
        case .acceptance:
            guard let acceptance = SessionAcceptance(&buffer) else { return nil }
            self = .accepted(acceptance)
        case .refusal:
            guard let key = buffer.readShortText(most: NIP74Message.maximumKeyLength),
                let code = buffer.readVariableLengthInteger()
            else { return nil }
            self = .refused(SessionRefusal(key: key, reason: StreamEnd(code: code)))
        }
    }

    /// The UUID of the CONNECT or OFFER that is answered.
    package var key: String {
        switch self {
        case .accepted(let acceptance): acceptance.key
        case .refused(let refusal): refusal.key
        }
    }

    /// The encoded body, without the signature.
    package var body: [UInt8] {
        var buffer = ByteBuffer()
        switch self {
        case .accepted(let acceptance):
            buffer.writeInteger(SessionPrefix(.acceptance, isFromExit: true).byte)
            acceptance.encode(into: &buffer)
        case .refused(let refusal):
            buffer.writeInteger(SessionPrefix(.refusal, isFromExit: true).byte)
            buffer.writeShortText(refusal.key)
            buffer.writeVariableLengthInteger(refusal.reason.code)
        }
        return Array(buffer.readableBytesView)
    }

    /// Returns whether a plaintext between session keys starts like an answer, and not like a packet.
    package static func isAnswer(_ plaintext: [UInt8]) -> Bool {
        guard let byte = plaintext.first, let prefix = try? SessionPrefix(byte: byte) else { return false }
        return prefix.kind != .packet && prefix.isFromExit
    }

    /// Returns whether a plaintext starts like a packet that the client sent.
    package static func isClientsPacket(_ plaintext: [UInt8]) -> Bool {
        guard let byte = plaintext.first, let prefix = try? SessionPrefix(byte: byte) else { return false }
        return prefix.kind == .packet && !prefix.isFromExit
    }

    /// The hash that the exit signs: a tagged hash (BIP-340) over the keys, the offer and the answer.
    ///
    /// - Parameters:
    ///   - exit: The exit's long-term public key.
    ///   - client: The client's key of the session.
    ///   - fresh: The exit's session key, which is the author of the event.
    ///   - offerHash: SHA-256 of the plaintext that is answered.
    ///   - body: The body of the answer.
    package static func signedHash(
        exit: PublicKey,
        client: PublicKey,
        fresh: PublicKey,
        offerHash: Bytes32,
        body: [UInt8]
    ) -> Bytes32 {
        let tag = Bytes32.sha256(of: Array("nws/session/1/answer".utf8)).bytes
        let parts = [exit.bytes.bytes, client.bytes.bytes, fresh.bytes.bytes, offerHash.bytes, body]
        return Bytes32.sha256(of: tag + tag + parts.flatMap { $0 })
    }
}

extension SessionAnswer {
    /// Decodes a signed answer. Returns nil if it is malformed, or if the exit's signature is not valid for any of the
    /// offers.
    ///
    /// - Parameters:
    ///   - plaintext: The body, followed by the signature.
    ///   - exit: The exit's long-term public key.
    ///   - client: The client's key of the session.
    ///   - fresh: The exit's session key, which is the author of the event.
    ///   - offerHashes: SHA-256 of each offer that the client sent.
    package static func verified(
        _ plaintext: [UInt8],
        exit: PublicKey,
        client: PublicKey,
        fresh: PublicKey,
        offerHashes: [Bytes32]
    ) -> (answer: SessionAnswer, body: [UInt8])? {
        guard plaintext.count > Self.signatureLength,
            let signature = SchnorrSignature(Array(plaintext.suffix(Self.signatureLength)))
        else { return nil }
        let body = Array(plaintext.dropLast(Self.signatureLength))
        guard let answer = SessionAnswer(body: body) else { return nil }
        let isSigned = offerHashes.contains { hash in
            let signed = Self.signedHash(exit: exit, client: client, fresh: fresh, offerHash: hash, body: body)
            return exit.verify(signature, of: signed)
        }
        return isSigned ? (answer, body) : nil
    }
}

/// An exit's acceptance of a session offer.
package struct SessionAcceptance: Hashable, Sendable {
    /// The UUID of the CONNECT or OFFER.
    package var key: String
    /// The path on which the exit sends this acceptance.
    package var path: PathID
    /// The limits that the exit declares.
    package var parameters: SessionParameters
    /// The URLs of the exit's relays. The index of a relay is the number of its path. An empty string means that the
    /// number is not in use.
    package var relays: [String]
    /// Proves that the exit knows the client (``provenMessage(exit:client:fresh:offerHash:)``). Nil if the offer
    /// contained no proof that this exit could check.
    package var proof: Bytes32?

    /// Maximum length of a URL in bytes.
    static let maximumURLLength = 512

    /// Creates an acceptance. At most ``SessionConfiguration/maximumPaths`` relays are encoded.
    package init(
        key: String,
        path: PathID,
        parameters: SessionParameters,
        relays: [String],
        proof: Bytes32? = nil
    ) {
        self.key = key
        self.path = path
        self.parameters = parameters
        self.relays = relays
        self.proof = proof
    }

    func encode(into buffer: inout ByteBuffer) {
        buffer.writeShortText(self.key)
        buffer.writeVariableLengthInteger(UInt64(self.path.rawValue))
        let parameters = self.parameters.encoded
        buffer.writeVariableLengthInteger(UInt64(parameters.count))
        buffer.writeBytes(parameters)
        let relays = self.relays.prefix(SessionConfiguration.maximumPaths)
        buffer.writeVariableLengthInteger(UInt64(relays.count))
        for relay in relays { buffer.writeShortText(relay) }
        buffer.writeVariableLengthInteger(UInt64(self.proof == nil ? 0 : Bytes32.count))
        if let proof { buffer.writeBytes(proof.bytes) }
    }

    init?(_ buffer: inout ByteBuffer) {
        guard let key = buffer.readShortText(most: NIP74Message.maximumKeyLength),
            let path = try? SessionFrameDecoder.path(&buffer),
            let length = buffer.readVariableLengthInteger(), length <= UInt64(buffer.readableBytes),
            let encoded = buffer.readBytes(length: Int(length)),
            let parameters = SessionParameters(encoded: encoded),
            let count = buffer.readVariableLengthInteger(), count <= UInt64(SessionConfiguration.maximumPaths)
        else { return nil }
        self.key = key
        self.path = path
        self.parameters = parameters
        self.relays = []
        for _ in 0..<count {
            guard let relay = buffer.readShortText(most: Self.maximumURLLength) else { return nil }
            self.relays.append(relay)
        }
        switch buffer.readVariableLengthInteger() {
        case 0: break
        case UInt64(Bytes32.count):
            guard let bytes = buffer.readBytes(length: Bytes32.count) else { return nil }
            self.proof = Bytes32(bytes)
        default: return nil
        }
    }
}

/// An exit's rejection: it does not accept the offer, or it does not know the session that the client asked for.
package struct SessionRefusal: Hashable, Sendable {
    /// The UUID of the CONNECT or OFFER.
    package var key: String
    /// The reason of the rejection.
    package var reason: StreamEnd

    /// Creates a rejection.
    package init(key: String, reason: StreamEnd) {
        self.key = key
        self.reason = reason
    }
}

extension ByteBuffer {
    /// Writes a string, preceded by its length.
    fileprivate mutating func writeShortText(_ text: String) {
        self.writeVariableLengthInteger(UInt64(text.utf8.count))
        self.writeString(text)
    }

    /// Reads a string that ``writeShortText(_:)`` wrote. Returns nil if it is truncated or longer than `most` bytes.
    fileprivate mutating func readShortText(most: Int) -> String? {
        guard let length = self.readVariableLengthInteger(), length <= UInt64(min(most, self.readableBytes)) else {
            return nil
        }
        return self.readString(length: Int(length))
    }
}
