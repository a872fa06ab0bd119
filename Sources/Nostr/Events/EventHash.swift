//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

/// The ID of an event whose content is added in pieces. The content must not need JSON escapes; base64 never does.
struct EventHash {
    private var hasher = SHA256Hasher()

    static let tail = Array("\"]".utf8)

    init(pubkey: PublicKey, createdAt: Int64, kind: EventKind, tags: [Tag]) {
        var head = ByteBuffer()
        Event.writeCanonicalHead(pubkey: pubkey, createdAt: createdAt, kind: kind, tags: tags, into: &head)
        head.writeStaticString("\"")
        self.hasher.update(head.readableBytesSpan)
    }

    mutating func update(_ content: RawSpan) { self.hasher.update(content) }

    consuming func finalize() -> Bytes32 {
        self.hasher.update(Self.tail)
        return self.hasher.finalize()
    }
}
