//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
public import NostrCrypto

/// What an exit answers to an offer, from a fresh key to the client's: the first plaintext between the two.
///
/// The body is followed by the exit's BIP-340 signature, which makes the fresh key the exit's word.
public enum SessionAnswer: Hashable, Sendable {
    case accepted(SessionAcceptance)
    case refused(SessionRefusal)

    /// Bytes of the signature behind the body.
    public static let signatureLength = 64

    /// Reads a body; nil if it is none.
    public init?(body: [UInt8]) {
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

    /// The UUID of the CONNECT that is answered.
    public var key: String {
        switch self {
        case .accepted(let acceptance): acceptance.key
        case .refused(let refusal): refusal.key
        }
    }

    public var body: [UInt8] {
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

    /// Whether a plaintext between session keys may be an answer rather than a packet.
    public static func isAnswer(_ plaintext: [UInt8]) -> Bool {
        guard let byte = plaintext.first, let prefix = try? SessionPrefix(byte: byte) else { return false }
        return prefix.kind != .packet && prefix.isFromExit
    }

    /// Whether a plaintext is a packet of the client.
    public static func isClientsPacket(_ plaintext: [UInt8]) -> Bool {
        guard let byte = plaintext.first, let prefix = try? SessionPrefix(byte: byte) else { return false }
        return prefix.kind == .packet && !prefix.isFromExit
    }

    /// What the exit signs: a tagged hash (BIP-340) over who speaks to whom, what was asked, and the answer.
    ///
    /// - Parameters:
    ///   - exit: The long-term key.
    ///   - client: The client's key of the session.
    ///   - fresh: The exit's key of the session, the author of the event.
    ///   - offerHash: SHA-256 of the plaintext that is answered.
    public static func signedHash(
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
    /// Reads a plaintext as a signed answer; nil if it is none, or the exit did not sign it for one of these offers.
    ///
    /// - Parameters:
    ///   - exit: The exit's long-term key.
    ///   - client: The client's key of the session.
    ///   - fresh: The author of the event.
    ///   - offerHashes: SHA-256 of each plaintext that the exit may have received.
    public static func verified(
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

/// The exit takes the offer.
public struct SessionAcceptance: Hashable, Sendable {
    /// The UUID of the CONNECT.
    public var key: String
    /// The path by which this very answer goes out.
    public var path: PathID
    public var parameters: SessionParameters
    /// The exit's relays; their places are the identifiers of the paths.
    public var relays: [String]

    /// Longest URL that is read.
    static let maximumURLLength = 512

    public init(key: String, path: PathID, parameters: SessionParameters, relays: [String]) {
        self.key = key
        self.path = path
        self.parameters = parameters
        self.relays = relays
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
    }

    init?(_ buffer: inout ByteBuffer) {
        guard let key = buffer.readShortText(most: NIP74Message.maximumKeyLength),
            let path = try? SessionFrame.path(&buffer),
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
    }
}

/// The exit does not know the session that was asked for, or takes no more.
public struct SessionRefusal: Hashable, Sendable {
    /// The UUID of the CONNECT or OFFER.
    public var key: String
    public var reason: StreamEnd

    public init(key: String, reason: StreamEnd) {
        self.key = key
        self.reason = reason
    }
}

extension ByteBuffer {
    /// Writes the length and the bytes of a text.
    fileprivate mutating func writeShortText(_ text: String) {
        self.writeVariableLengthInteger(UInt64(text.utf8.count))
        self.writeString(text)
    }

    /// Reads what ``writeShortText(_:)`` wrote; nil if it is longer than `most` bytes.
    fileprivate mutating func readShortText(most: Int) -> String? {
        guard let length = self.readVariableLengthInteger(), length <= UInt64(min(most, self.readableBytes)) else {
            return nil
        }
        return self.readString(length: Int(length))
    }
}
