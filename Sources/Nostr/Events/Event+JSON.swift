//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto

/// The reason why a JSON text is not an event.
package enum EventParsingError: Error, Hashable, Sendable {
    /// The text is not valid JSON, or not a JSON object.
    case json(JSONError)
    /// The member with this name is missing.
    case missing(String)
    /// The member with this name has the wrong type or form.
    case invalid(String)
}

extension EventParsingError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .json(let error): "\(error)"
        case .missing(let name): "event has no \"\(name)\" field"
        case .invalid(let name): "event has an invalid \"\(name)\" field"
        }
    }
}

extension Event {
    /// Maximum number of tags of an event, and of fields of one tag. Events with more fail to parse.
    package static let maximumTagCount = 2_000

    /// Writes the event as a JSON object.
    package func write(into buffer: inout ByteBuffer) {
        buffer.writeStaticString("{\"id\":\"")
        buffer.writeHex(self.id.bytes.bytes)
        buffer.writeStaticString("\",")
        Self.writeMembers(
            pubkey: self.pubkey,
            createdAt: self.createdAt,
            kind: self.kind,
            tags: self.tags,
            into: &buffer
        )
        buffer.writeStaticString(",\"content\":")
        buffer.writeJSONString(self.content.readableBytesUInt8Span)
        buffer.writeStaticString(",\"sig\":\"")
        buffer.writeHex(self.signature.bytes)
        buffer.writeStaticString("\"}")
    }

    /// Writes the members between the ID and the content.
    static func writeMembers(
        pubkey: PublicKey,
        createdAt: Int64,
        kind: EventKind,
        tags: [Tag],
        into buffer: inout ByteBuffer
    ) {
        buffer.writeStaticString("\"pubkey\":\"")
        buffer.writeHex(pubkey.bytes.bytes)
        buffer.writeStaticString("\",\"created_at\":")
        buffer.writeDecimal(createdAt)
        buffer.writeStaticString(",\"kind\":")
        buffer.writeDecimal(kind.rawValue)
        buffer.writeStaticString(",\"tags\":")
        Self.writeTags(tags, into: &buffer)
    }

    /// The event as a JSON object.
    package var json: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(self.content.readableBytes + 512)
        self.write(into: &buffer)
        return buffer
    }

    /// Parses an event from a JSON object. The ID and signature are not verified; see ``verify()``.
    ///
    /// - Throws: ``EventParsingError``, also if anything but white space follows the object.
    package init(json: ByteBuffer) throws(EventParsingError) {
        var scanner = JSONScanner(json)
        self = try Self.scan(&scanner)
        do {
            try scanner.expectEnd()
        } catch {
            throw .json(error)
        }
    }

    /// Scans the event that is next in `scanner`.
    static func scan(_ scanner: inout JSONScanner) throws(EventParsingError) -> Event {
        do {
            return try Self.scanMembers(&scanner)
        } catch let error as JSONError {
            throw .json(error)
        } catch let error as EventParsingError {
            throw error
        } catch {
            throw .invalid("shape")
        }
    }

    private static func scanMembers(_ scanner: inout JSONScanner) throws -> Event {
        var id: Bytes32?
        var pubkey: Bytes32?
        var createdAt: Int64?
        var kind: UInt16?
        var tags: [Tag]?
        var content: ByteBuffer?
        var signature: SchnorrSignature?
        var unknownKeys: Set<[UInt8]> = []

        try scanner.expect(UInt8(ascii: "{"))
        guard try !scanner.take(UInt8(ascii: "}")) else { throw EventParsingError.missing("id") }
        repeat {
            let key = try scanner.scanString()
            let offset = key.range.lowerBound
            func once<Value>(_ slot: Value?) throws(JSONError) {
                guard slot == nil else { throw JSONError(.duplicateKey, at: offset) }
            }
            try scanner.expect(UInt8(ascii: ":"))
            if scanner.matches(key, "id") {
                try once(id)
                id = try Self.scanHex32(&scanner, "id")
            } else if scanner.matches(key, "pubkey") {
                try once(pubkey)
                pubkey = try Self.scanHex32(&scanner, "pubkey")
            } else if scanner.matches(key, "created_at") {
                try once(createdAt)
                createdAt = try Self.scanInteger(&scanner, "created_at")
                guard let value = createdAt, value >= 0 else { throw EventParsingError.invalid("created_at") }
            } else if scanner.matches(key, "kind") {
                try once(kind)
                kind = UInt16(exactly: try Self.scanInteger(&scanner, "kind"))
                guard kind != nil else { throw EventParsingError.invalid("kind") }
            } else if scanner.matches(key, "tags") {
                try once(tags)
                tags = try Self.scanTags(&scanner)
            } else if scanner.matches(key, "content") {
                try once(content)
                guard try scanner.peek() == UInt8(ascii: "\"") else { throw EventParsingError.invalid("content") }
                let string = try scanner.scanString()
                content = scanner.slice(of: string)
            } else if scanner.matches(key, "sig") {
                try once(signature)
                guard try scanner.peek() == UInt8(ascii: "\"") else { throw EventParsingError.invalid("sig") }
                let string = try scanner.scanString()
                let bytes = scanner.buffer.readableBytesUInt8Span
                guard string.range.count == 128,
                    let r = Bytes32(lowercaseHex: bytes, at: string.range.lowerBound),
                    let s = Bytes32(lowercaseHex: bytes, at: string.range.lowerBound + 64)
                else { throw EventParsingError.invalid("sig") }
                signature = SchnorrSignature(r: r, s: s)
            } else {
                guard unknownKeys.insert(scanner.bytes(of: key)).inserted else {
                    throw JSONError(.duplicateKey, at: offset)
                }
                try scanner.skipValue()
            }
        } while try scanner.takeSeparator(or: UInt8(ascii: "}"))

        guard let id else { throw EventParsingError.missing("id") }
        guard let pubkey else { throw EventParsingError.missing("pubkey") }
        guard let createdAt else { throw EventParsingError.missing("created_at") }
        guard let kind else { throw EventParsingError.missing("kind") }
        guard let tags else { throw EventParsingError.missing("tags") }
        guard let content else { throw EventParsingError.missing("content") }
        guard let signature else { throw EventParsingError.missing("sig") }
        return Event(
            id: EventID(id),
            pubkey: PublicKey(unchecked: pubkey),
            createdAt: createdAt,
            kind: EventKind(rawValue: kind),
            tags: tags,
            content: content,
            signature: signature
        )
    }

    private static func scanHex32(_ scanner: inout JSONScanner, _ name: String) throws -> Bytes32 {
        guard try scanner.peek() == UInt8(ascii: "\"") else { throw EventParsingError.invalid(name) }
        let string = try scanner.scanString()
        guard string.range.count == 64,
            let value = Bytes32(
                lowercaseHex: scanner.buffer.readableBytesUInt8Span,
                at: string.range.lowerBound
            )
        else { throw EventParsingError.invalid(name) }
        return value
    }

    private static func scanInteger(_ scanner: inout JSONScanner, _ name: String) throws -> Int64 {
        do {
            return try scanner.scanInteger()
        } catch {
            throw EventParsingError.invalid(name)
        }
    }

    private static func scanTags(_ scanner: inout JSONScanner) throws -> [Tag] {
        guard try scanner.take(UInt8(ascii: "[")) else { throw EventParsingError.invalid("tags") }
        var tags: [Tag] = []
        if try scanner.take(UInt8(ascii: "]")) { return tags }
        repeat {
            guard tags.count < Self.maximumTagCount, try scanner.take(UInt8(ascii: "[")) else {
                throw EventParsingError.invalid("tags")
            }
            var fields: [ByteString] = []
            guard try !scanner.take(UInt8(ascii: "]")) else { throw EventParsingError.invalid("tags") }
            repeat {
                guard fields.count < Self.maximumTagCount, try scanner.peek() == UInt8(ascii: "\"") else {
                    throw EventParsingError.invalid("tags")
                }
                let string = try scanner.scanString()
                fields.append(ByteString(scanner.bytes(of: string)))
            } while try scanner.takeSeparator(or: UInt8(ascii: "]"))
            guard let tag = Tag(fields: fields) else { throw EventParsingError.invalid("tags") }
            tags.append(tag)
        } while try scanner.takeSeparator(or: UInt8(ascii: "]"))
        return tags
    }
}
