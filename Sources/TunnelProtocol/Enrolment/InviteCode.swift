//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
package import NostrCrypto

/// The line that an exit's owner gives to a device: the exit's name, its relays, and the secret of an invite.
///
/// It is bech32 with the prefix `nwsinvite`, so that a typing error is noticed, with type-length-value entries like those
/// of NIP-19.
package struct InviteCode: Sendable {
    /// The exit and its relays.
    package let name: NostrName
    /// The secret. Never log it.
    package let secret: InviteSecret
    /// The name that the exit's owner suggests for the exit; empty for none. The caller checks whether it is valid.
    package let label: String
    /// Seconds since 1970 from which the invite is no longer valid; nil if it does not expire.
    package let expires: Int64?

    /// The beginning of every code.
    package static let prefix = "nwsinvite"
    /// Maximum number of relays in a code. Further ones are left out.
    package static let maximumRelays = 8

    private enum Entry: UInt8 {
        case exit = 0
        case relay = 1
        case secret = 2
        case label = 3
        case expires = 4
    }

    /// The reason why a line is not an invite.
    package enum DecodingError: Error, Hashable, Sendable {
        /// The line does not begin like an invite.
        case notInvite
        /// The line is incomplete, or a character is wrong.
        case damaged
        /// A field is missing or has a wrong length.
        case malformed
    }

    package init(name: NostrName, secret: InviteSecret, label: String, expires: Int64?) {
        self.name = name
        self.secret = secret
        self.label = label
        self.expires = expires
    }

    /// Decodes a line. Spaces, line breaks and upper case are accepted, because people paste it from messages and scan it.
    package init(_ line: String) throws(DecodingError) {
        let text = String(line.filter { !$0.isWhitespace })
        guard text.lowercased().hasPrefix(Self.prefix + "1") else { throw .notInvite }
        let bytes: [UInt8]
        do {
            bytes = try Bech32.decode(text).bytes
        } catch {
            throw .damaged
        }
        var buffer = ByteBuffer(bytes: bytes)
        var exit: PublicKey?
        var relays: [RelayURL] = []
        var secret: Bytes32?
        var label = ""
        var expires: Int64?
        while buffer.readableBytes > 0 {
            guard let type = buffer.readInteger(as: UInt8.self), let length = buffer.readInteger(as: UInt8.self),
                let value = buffer.readBytes(length: Int(length))
            else { throw .malformed }
            switch Entry(rawValue: type) {
            case .exit: exit = Bytes32(value).flatMap { try? PublicKey(validating: $0) }
            case .relay:
                if relays.count < Self.maximumRelays, let relay = try? RelayURL(String(decoding: value, as: UTF8.self))
                {
                    relays.append(relay)
                }
            case .secret: secret = Bytes32(value)
            case .label: label = String(decoding: value, as: UTF8.self)
            case .expires: expires = ByteBuffer(bytes: value).getInteger(at: 0)
            // Entries of later versions.
            case nil: break
            }
        }
        guard let exit, let secret else { throw .malformed }
        self.init(
            name: NostrName(publicKey: exit, relays: relays),
            secret: InviteSecret(secret),
            label: label,
            expires: expires
        )
    }

    /// The invite as text. It contains the secret, so never log it.
    package var encoded: String {
        var buffer = ByteBuffer()
        func write(_ entry: Entry, _ value: [UInt8]) {
            guard let length = UInt8(exactly: value.count) else { return }
            buffer.writeInteger(entry.rawValue)
            buffer.writeInteger(length)
            buffer.writeBytes(value)
        }
        write(.exit, self.name.publicKey.bytes.bytes)
        for relay in self.name.relays.prefix(Self.maximumRelays) { write(.relay, Array(relay.text.utf8)) }
        write(.secret, self.secret.exposeBytes().bytes)
        if !self.label.isEmpty { write(.label, Array(self.label.utf8)) }
        if let expires { write(.expires, Array(ByteBuffer(integer: expires).readableBytesView)) }
        return Bech32.encode(prefix: Self.prefix, bytes: Array(buffer.readableBytesView))
    }
}

extension InviteCode.DecodingError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notInvite: "not an invite: expected a line that begins with \(InviteCode.prefix)1"
        case .damaged: "the invite is incomplete, or a character is wrong; copy the whole line again"
        case .malformed: "the invite was made by another version of nws; update the older of the two"
        }
    }
}
