//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// The header of the PROXY protocol, version 2, with which an exit tells a service who its client is.
///
/// The client has no address that the service could know, so the header has the address family AF_UNSPEC. What is known
/// about the client is in these fields (type, length, value):
///
/// | type | value |
/// |---|---|
/// | 0x05 (PP2_TYPE_UNIQUE_ID) | the client's session key, 32 bytes: the same for all streams of a session |
/// | 0xE0 | the client's npub, if it has proven an identity |
/// | 0xE1 | the comment of the identity in the access list |
///
/// Source: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt
struct ProxyProtocolHeader {
    private enum FieldType {
        static let uniqueID: UInt8 = 0x05
        static let npub: UInt8 = 0xe0
        static let comment: UInt8 = 0xe1
    }

    private static let signature: [UInt8] = [
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
    ]
    /// Version 2, command PROXY.
    private static let versionAndCommand: UInt8 = 0x21
    /// AF_UNSPEC, UNSPEC.
    private static let unspecified: UInt8 = 0x00
    /// Maximum length of the comment in bytes.
    private static let maximumComment = 256

    let client: PublicKey
    let identity: PublicKey?
    let comment: String?

    /// The encoded header.
    var encoded: ByteBuffer {
        var fields = ByteBuffer()
        Self.write(FieldType.uniqueID, self.client.bytes.bytes, into: &fields)
        if let identity { Self.write(FieldType.npub, Array(identity.npub.utf8), into: &fields) }
        if let comment, !comment.isEmpty {
            // Whole characters only.
            var text = ""
            for character in comment where text.utf8.count + character.utf8.count <= Self.maximumComment {
                text.append(character)
            }
            Self.write(FieldType.comment, Array(text.utf8), into: &fields)
        }
        var buffer = ByteBuffer(bytes: Self.signature)
        buffer.writeInteger(Self.versionAndCommand)
        buffer.writeInteger(Self.unspecified)
        buffer.writeInteger(UInt16(fields.readableBytes))
        buffer.writeBuffer(&fields)
        return buffer
    }

    private static func write(_ type: UInt8, _ value: [UInt8], into buffer: inout ByteBuffer) {
        buffer.writeInteger(type)
        buffer.writeInteger(UInt16(value.count))
        buffer.writeBytes(value)
    }
}
