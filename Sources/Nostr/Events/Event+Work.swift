//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// Proof of work (NIP-13).
extension Event {
    /// Number of leading zero bits of the ID. It is a proof of work only if the ID is valid.
    package var work: Int { self.id.bytes.leadingZeroBits }

    /// Creates a signed event whose ID has at least `work` leading zero bits. Takes about 2^`work` hashes of the event.
    package static func signed(
        by key: SecretKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        content: ByteBuffer,
        work: Int
    ) throws(CryptoError) -> Event {
        guard work > 0 else {
            return try Self.signed(by: key, createdAt: createdAt, kind: kind, tags: tags, content: content)
        }
        let nonce = Self.nonce(
            for: work,
            pubkey: key.publicKey,
            createdAt: createdAt,
            kind: kind,
            tags: tags,
            content: content
        )
        return try Self.signed(
            by: key,
            createdAt: createdAt,
            kind: kind,
            tags: tags + [Self.nonceTag(nonce, work)],
            content: content
        )
    }

    private static func nonceTag(_ nonce: [UInt8], _ work: Int) -> Tag {
        Tag("nonce", ByteString(nonce), ByteString("\(work)"))
    }

    /// Number of decimal digits of a nonce.
    private static let nonceLength = 12

    /// Finds the nonce of an event. The canonical form is written once, and only the digits in it change.
    private static func nonce(
        for work: Int,
        pubkey: PublicKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        content: ByteBuffer
    ) -> [UInt8] {
        let zeros = [UInt8](repeating: UInt8(ascii: "0"), count: Self.nonceLength)
        var head = ByteBuffer()
        Self.writeCanonicalHead(
            pubkey: pubkey,
            createdAt: createdAt,
            kind: kind,
            tags: tags + [Self.nonceTag(zeros, work)],
            into: &head
        )
        // What follows the nonce in the head.
        let rest = "\",\"\(work)\"]],".utf8.count
        let end = head.readableBytes - rest
        head.writeJSONString(content.readableBytesUInt8Span)
        head.writeStaticString("]")
        var canonical = Array(head.readableBytesView)
        while Bytes32.sha256(of: canonical).leadingZeroBits < work {
            var index = end - 1
            // Add one to the decimal number.
            while canonical[index] == UInt8(ascii: "9"), index > end - Self.nonceLength {
                canonical[index] = UInt8(ascii: "0")
                index -= 1
            }
            canonical[index] += 1
        }
        return Array(canonical[(end - Self.nonceLength)..<end])
    }
}
