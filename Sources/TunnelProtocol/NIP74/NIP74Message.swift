//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import Nostr
import NostrCrypto

/// A NIP-74 message, including the extensions of this project (docs/PROTOCOL.md).
package struct NIP74Message: Hashable, Sendable {
    /// The type of a message.
    package enum Kind: Hashable, Sendable {
        /// CONNECT: opens a stream. It may contain the first data.
        case connect
        /// CONNECTR: asks the exit to open a stream by connecting to the entry.
        case connectReverse
        /// DATA: data of a stream. This is the name in the NIP.
        case data
        /// SOCKS5RESPONSE: data of a stream. The reference implementation uses this name in both directions.
        case socks5Response
        /// OFFER: repeats the session offer of a CONNECT. Extension of this project; the reference implementation
        /// ignores unknown types.
        case offer
        /// Any other type.
        case other
    }

    /// The form of the data in a message.
    package enum Payload: Hashable, Sendable {
        /// The data was base64. The value holds the decoded bytes.
        case bytes([UInt8])
        /// The data is plain text, as in the NIP's example. Data that is not valid base64 also has this form.
        case text([UInt8])
    }

    /// Identifies the stream: a UUID in lower case.
    package var key: String
    /// The type of the message.
    package var kind: Kind
    /// The data; nil if the message has none.
    package var payload: Payload?
    /// From entry to exit, the name of the exit; from exit to entry, the client's nprofile.
    package var destination: String
    /// The address that the exit should connect to, as `HOST:PORT` (CONNECTR).
    package var entryPublicAddress: String?
    /// The encoded offer of a session (CONNECT and OFFER). Empty if the member exists but is not base64. Extension of this
    /// project.
    package var offer: [UInt8]?

    /// Creates a message.
    package init(
        key: String,
        kind: Kind,
        payload: Payload? = nil,
        destination: String = "",
        offer: [UInt8]? = nil
    ) {
        self.key = key
        self.kind = kind
        self.payload = payload
        self.destination = destination
        self.offer = offer
    }

    /// Creates a CONNECTR that asks an exit to connect to `address`, which has the form `HOST:PORT`.
    package static func connectReverse(key: String, destination: String, address: String) -> NIP74Message {
        var message = NIP74Message(key: key, kind: .connectReverse, destination: destination)
        message.entryPublicAddress = address
        return message
    }

    /// Whether ``key`` is a UUID as text: groups of 8, 4, 4, 4 and 12 hex digits. With CONNECTR, the exit writes it to the
    /// connection first.
    var hasUUID: Bool {
        let groups = self.key.split(separator: "-", omittingEmptySubsequences: false)
        return groups.map(\.utf8.count) == [8, 4, 4, 4, 12]
            && groups.allSatisfy { $0.utf8.allSatisfy { Self.isHexDigit($0) } }
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }

    /// Maximum length of `key` in bytes.
    static let maximumKeyLength = 64
    /// Maximum length of `destination` in bytes: a name or an nprofile.
    static let maximumDestinationLength = Bech32.maximumLength

    /// Decodes a plaintext. Returns nil if it is not a valid message.
    package init?(plaintext: ByteBuffer) {
        guard let value = try? JSONValue.parse(plaintext),
            let key = value["key"]?.text, (1...Self.maximumKeyLength).contains(key.utf8.count),
            let type = value["type"]?.text
        else { return nil }
        let destination = value["destination"]?.text ?? ""
        guard destination.utf8.count <= Self.maximumDestinationLength else { return nil }
        self.key = key.lowercased()
        self.kind = Self.kind(named: type)
        self.destination = destination
        self.entryPublicAddress = value["entryPublicAddress"]?.text
        if let data = value["data"], data != .null {
            guard let characters = data.stringBytes else { return nil }
            self.payload = Base64.decode(characters).map(Payload.bytes) ?? .text(characters)
        }
        self.offer = value["nws"].map { $0.stringBytes.flatMap { Base64.decode($0) } ?? [] }
    }

    /// Encodes the plaintext. The members have the same order as in the reference implementation; empty ones are
    /// omitted.
    package func encoded() -> [UInt8] {
        var buffer = ByteBuffer()
        buffer.writeStaticString("{\"key\":")
        buffer.writeJSONString(self.key)
        buffer.writeStaticString(",\"type\":\"")
        buffer.writeString(Self.name(of: self.kind))
        buffer.writeStaticString("\"")
        switch self.payload {
        case .bytes(let bytes) where !bytes.isEmpty:
            buffer.writeStaticString(",\"data\":\"")
            buffer.writeBytes(Base64.encode(bytes))
            buffer.writeStaticString("\"")
        case .text(let text) where !text.isEmpty:
            buffer.writeStaticString(",\"data\":")
            buffer.writeJSONString(text)
        case .bytes, .text, nil:
            break
        }
        if !self.destination.isEmpty {
            buffer.writeStaticString(",\"destination\":")
            buffer.writeJSONString(self.destination)
        }
        if let entryPublicAddress {
            buffer.writeStaticString(",\"entryPublicAddress\":")
            buffer.writeJSONString(entryPublicAddress)
        }
        if let offer {
            buffer.writeStaticString(",\"nws\":\"")
            buffer.writeBytes(Base64.encode(offer))
            buffer.writeStaticString("\"")
        }
        buffer.writeStaticString("}")
        return Array(buffer.readableBytesView)
    }

    private static let names: [(Kind, String)] = [
        (.connect, "CONNECT"), (.connectReverse, "CONNECTR"), (.data, "DATA"), (.socks5Response, "SOCKS5RESPONSE"),
        (.offer, "OFFER"),
    ]

    private static func kind(named name: String) -> Kind {
        Self.names.first { $0.1 == name }?.0 ?? .other
    }

    private static func name(of kind: Kind) -> String {
        Self.names.first { $0.0 == kind }?.1 ?? "OTHER"
    }
}
