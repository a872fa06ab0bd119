//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import NostrCrypto

/// The part of an offer that proves to the exit that it knows the client (docs/PROTOCOL.md).
package struct OfferProof: Hashable, Sendable {
    /// The kind of the credential (``Credential/Kind``).
    package let kind: UInt8
    /// When the offer was made, in seconds since 1970. All repetitions of an offer contain the same date.
    package let date: Int64
    /// Finds the credential in the exit's list.
    package let hint: UInt64
    /// The message authentication code over the offer.
    package var code: Bytes32

    /// Length of an encoded proof in bytes.
    package static let encodedLength = 1 + 8 + 8 + Bytes32.count

    /// Creates a proof from its parts.
    package init(kind: UInt8, date: Int64, hint: UInt64, code: Bytes32) {
        self.kind = kind
        self.date = date
        self.hint = hint
        self.code = code
    }

    /// Decodes a proof. Returns nil if the length is wrong.
    package init?(encoded: [UInt8]) {
        var buffer = ByteBuffer(bytes: encoded)
        guard encoded.count == Self.encodedLength, let kind = buffer.readInteger(as: UInt8.self),
            let date = buffer.readInteger(as: Int64.self), let hint = buffer.readInteger(as: UInt64.self),
            let bytes = buffer.readBytes(length: Bytes32.count), let code = Bytes32(bytes)
        else { return nil }
        self.init(kind: kind, date: date, hint: hint, code: code)
    }

    /// Kind, date and hint, as encoded.
    var authenticatedFields: [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.kind)
        buffer.writeInteger(self.date)
        buffer.writeInteger(self.hint)
        return Array(buffer.readableBytesView)
    }

    /// The encoded proof: kind, date, hint and code, each with a fixed width in network byte order.
    package var encoded: [UInt8] { self.authenticatedFields + self.code.bytes }
}
