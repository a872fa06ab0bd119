//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// One message of NIP-74, and the members that our own nodes add (docs/PROTOCOL.md).
public struct NIP74Message: Hashable, Sendable {
    /// What a message is for.
    public enum Kind: Hashable, Sendable {
        /// Open a stream; may carry its first data.
        case connect
        /// Open a stream by dialling the entry; not served.
        case connectReverse
        /// Data as the NIP names it.
        case data
        /// Data as the reference names it, in both directions.
        case socks5Response
        /// Ours: the exit speaks our extension.
        case accept
        /// Ours: the exit's target is connected.
        case opened
        /// Ours: no more data from the sender.
        case fin
        /// Ours: the stream is over.
        case reset
        /// Ours: are you there? Answered by ``pong``.
        case ping
        /// Ours: yes.
        case pong
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

    /// What an entry of ours adds to CONNECT, and an exit of ours to ACCEPT.
    public struct Extension: Hashable, Sendable {
        /// Offered in CONNECT; the one taken in ACCEPT.
        public var versions: [Int64]
        /// The port asked for.
        public var port: UInt16?

        public init(versions: [Int64], port: UInt16? = nil) {
            self.versions = versions
            self.port = port
        }
    }

    /// The stream, a UUID in lower case.
    public var key: String
    public var kind: Kind
    public var payload: Payload?
    public var destination: String
    public var entryPublicAddress: String?
    public var extensions: Extension?
    public var reason: StreamEnd?

    public init(
        key: String,
        kind: Kind,
        payload: Payload? = nil,
        destination: String = "",
        extensions: Extension? = nil,
        reason: StreamEnd? = nil
    ) {
        self.key = key
        self.kind = kind
        self.payload = payload
        self.destination = destination
        self.extensions = extensions
        self.reason = reason
    }

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
        if let member = value["nws"] {
            let versions =
                member["versions"]?.elements?.compactMap(\.integer) ?? member["version"]?.integer.map { [$0] }
            let port = member["port"]?.integer.flatMap(UInt16.init(exactly:))
            self.extensions = Extension(versions: versions ?? [], port: port)
        }
        self.reason = value["reason"]?.text.map { StreamEnd(rawValue: $0) ?? .connectionReset }
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
        if let extensions {
            buffer.writeStaticString(",\"nws\":{")
            if self.kind == .connect {
                buffer.writeString("\"versions\":[\(extensions.versions.map(String.init).joined(separator: ","))]")
            } else {
                buffer.writeString("\"version\":\(extensions.versions.first ?? 0)")
            }
            if let port = extensions.port { buffer.writeString(",\"port\":\(port)") }
            buffer.writeStaticString("}")
        }
        if let reason {
            buffer.writeStaticString(",\"reason\":\"")
            buffer.writeString(reason.rawValue)
            buffer.writeStaticString("\"")
        }
        buffer.writeStaticString("}")
        return Array(buffer.readableBytesView)
    }

    private static let names: [(Kind, String)] = [
        (.connect, "CONNECT"), (.connectReverse, "CONNECTR"), (.data, "DATA"), (.socks5Response, "SOCKS5RESPONSE"),
        (.accept, "ACCEPT"), (.opened, "OPENED"), (.fin, "FIN"), (.reset, "RESET"), (.ping, "PING"), (.pong, "PONG"),
    ]

    private static func kind(named name: String) -> Kind {
        Self.names.first { $0.1 == name }?.0 ?? .other
    }

    private static func name(of kind: Kind) -> String {
        Self.names.first { $0.0 == kind }?.1 ?? "OTHER"
    }
}
