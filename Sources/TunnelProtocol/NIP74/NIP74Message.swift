//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// One message of NIP-74, and what our own nodes add to CONNECT (docs/PROTOCOL.md).
public struct NIP74Message: Hashable, Sendable {
    /// What a message is for.
    public enum Kind: Hashable, Sendable {
        /// Open a stream; may carry its first data.
        case connect
        /// Open a stream by dialling the entry.
        case connectReverse
        /// Data as the NIP names it.
        case data
        /// Data as the reference names it, in both directions.
        case socks5Response
        /// Ours: the offer of a CONNECT again, under a name that the reference ignores.
        case offer
        /// Anything else, to be counted.
        case other
    }

    /// Data as it stands in a message.
    public enum Payload: Hashable, Sendable {
        /// Base64, as everyone sends it: its bytes.
        case bytes([UInt8])
        /// The form of the NIP's own example: text. Also what is not valid base64.
        case text([UInt8])
    }

    /// The stream, a UUID in lower case.
    public var key: String
    public var kind: Kind
    public var payload: Payload?
    public var destination: String
    public var entryPublicAddress: String?
    /// The session that an entry of ours offers.
    public var terms: SessionOffer.Terms?

    public init(
        key: String,
        kind: Kind,
        payload: Payload? = nil,
        destination: String = "",
        terms: SessionOffer.Terms? = nil
    ) {
        self.key = key
        self.kind = kind
        self.payload = payload
        self.destination = destination
        self.terms = terms
    }

    /// CONNECTR: asks an exit to connect to `address`, `HOST:PORT`.
    public static func connectReverse(key: String, destination: String, address: String) -> NIP74Message {
        var message = NIP74Message(key: key, kind: .connectReverse, destination: destination)
        message.entryPublicAddress = address
        return message
    }

    /// Length of a UUID as text, which is what the exit writes on the connection.
    static let reverseKeyLength = 36

    /// Longest `key` that is read.
    static let maximumKeyLength = 64
    /// Longest `destination` that is read: a name, or an nprofile.
    static let maximumDestinationLength = Bech32.maximumLength

    /// Reads a plaintext; nil if it is not a message.
    public init?(plaintext: [UInt8]) {
        guard let value = try? JSONValue.parse(ByteBuffer(bytes: plaintext)),
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
        self.terms = value["nws"].flatMap { SessionOffer.Terms($0) }
    }

    /// The plaintext. Members in the reference's order, empty ones left out.
    public func encoded() -> [UInt8] {
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
        if let terms {
            buffer.writeStaticString(",\"nws\":")
            terms.write(into: &buffer)
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
