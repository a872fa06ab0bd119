//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NostrCrypto

/// A signed event (NIP-01).
///
/// A value that was parsed has the right shape and nothing more: ``verify()`` says whether its id and signature hold,
/// and nothing may use its content before that.
public struct Event: Sendable {
    /// SHA-256 of the canonical form, as claimed.
    public let id: EventID
    /// The author, as claimed.
    public let pubkey: PublicKey
    /// Seconds since 1970.
    public let createdAt: Int64
    public let kind: EventKind
    public let tags: [Tag]
    /// UTF-8. A slice of the message that the event came in where possible.
    public let content: ByteBuffer
    public let signature: SchnorrSignature

    public init(
        id: EventID,
        pubkey: PublicKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        content: ByteBuffer,
        signature: SchnorrSignature
    ) {
        self.id = id
        self.pubkey = pubkey
        self.createdAt = createdAt
        self.kind = kind
        self.tags = tags
        self.content = content
        self.signature = signature
    }

    /// Makes and signs an event. About 20 µs and 0.5 µs per kilobyte.
    ///
    /// - Parameter createdAt: Seconds since 1970.
    public static func signed(
        by key: SecretKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        content: ByteBuffer
    ) throws(CryptoError) -> Event {
        let hash = Self.hash(
            pubkey: key.publicKey,
            createdAt: createdAt,
            kind: kind,
            tags: tags,
            content: content
        )
        return Event(
            id: EventID(hash),
            pubkey: key.publicKey,
            createdAt: createdAt,
            kind: kind,
            tags: tags,
            content: content,
            signature: try key.sign(hash)
        )
    }

    /// Why an event is not what it claims.
    public enum VerificationError: Error, Hashable, Sendable {
        /// The id is not the hash of the event.
        case idMismatch
        /// The signature is not the author's, or the author is no key.
        case invalidSignature
    }

    /// Checks the id and the signature. About 30 µs and 0.5 µs per kilobyte.
    public func verify() throws(VerificationError) {
        let hash = Self.hash(
            pubkey: self.pubkey,
            createdAt: self.createdAt,
            kind: self.kind,
            tags: self.tags,
            content: self.content
        )
        guard hash == self.id.bytes else { throw .idMismatch }
        guard self.pubkey.verify(self.signature, of: hash) else { throw .invalidSignature }
    }

    // MARK: Tags

    /// The value of the first tag called `name`; nil if there is none or it has no value.
    public func firstValue(of name: ByteString) -> ByteString? {
        self.tags.first { $0.name == name && $0.fields.count > 1 }?.value
    }

    /// The value of `d`; empty if there is none, as relays read it for addressable events.
    public var identifier: ByteString { self.firstValue(of: "d") ?? "" }

    /// When relays should drop it (NIP-40); seconds since 1970.
    public var expiration: Int64? { self.firstValue(of: "expiration").flatMap { Int64($0.text) } }

    /// Whether only its author may publish it (NIP-70).
    public var isProtected: Bool { self.tags.contains { $0.fields.count == 1 && $0.name == "-" } }

    // MARK: Canonical form

    /// Writes the text whose SHA-256 is the id.
    package func writeCanonical(into buffer: inout ByteBuffer) {
        Self.writeCanonicalHead(
            pubkey: self.pubkey,
            createdAt: self.createdAt,
            kind: self.kind,
            tags: self.tags,
            into: &buffer
        )
        buffer.writeJSONString(self.content.readableBytesUInt8Span)
        buffer.writeStaticString("]")
    }

    private static func hash(
        pubkey: PublicKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        content: ByteBuffer
    ) -> Bytes32 {
        var head = ByteBuffer()
        Self.writeCanonicalHead(pubkey: pubkey, createdAt: createdAt, kind: kind, tags: tags, into: &head)
        var hasher = SHA256Hasher()
        let bytes = content.readableBytesUInt8Span
        if JSONScanner.nextSpecialByte(bytes, from: 0) == bytes.count {
            // The usual case, base64: the content is its own escaped form and is not copied.
            head.writeStaticString("\"")
            hasher.update(head.readableBytesSpan)
            hasher.update(content.readableBytesSpan)
            hasher.update(Self.canonicalTail)
        } else {
            head.writeJSONString(bytes)
            head.writeStaticString("]")
            hasher.update(head.readableBytesSpan)
        }
        return hasher.finalize()
    }

    private static let canonicalTail = Array("\"]".utf8)

    private static func writeCanonicalHead(
        pubkey: PublicKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        into buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("[0,\"")
        buffer.writeHex(pubkey.bytes.bytes)
        buffer.writeStaticString("\",")
        buffer.writeDecimal(createdAt)
        buffer.writeStaticString(",")
        buffer.writeDecimal(kind.rawValue)
        buffer.writeStaticString(",")
        Self.writeTags(tags, into: &buffer)
        buffer.writeStaticString(",")
    }

    static func writeTags(_ tags: [Tag], into buffer: inout ByteBuffer) {
        buffer.writeStaticString("[")
        for (index, tag) in tags.enumerated() {
            buffer.writeStaticString(index == 0 ? "[" : ",[")
            for (index, field) in tag.fields.enumerated() {
                if index > 0 { buffer.writeStaticString(",") }
                buffer.writeJSONString(field.bytes)
            }
            buffer.writeStaticString("]")
        }
        buffer.writeStaticString("]")
    }
}
