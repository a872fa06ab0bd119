//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NostrCrypto

/// Which events a subscription wants (NIP-01). Conditions are joined by and, the values of one by or.
public struct Filter: Hashable, Sendable {
    /// Nil: any.
    public var ids: Set<EventID>?
    /// Nil: any.
    public var authors: Set<PublicKey>?
    /// Nil: any.
    public var kinds: Set<EventKind>?
    /// For each letter the values of which the event must have one.
    public var tags: [UInt8: Set<ByteString>] = [:]
    /// Oldest `created_at`, inclusive.
    public var since: Int64?
    /// Newest `created_at`, inclusive.
    public var until: Int64?
    /// Most stored events; no bound on live ones.
    public var limit: Int?

    public init(
        ids: Set<EventID>? = nil,
        authors: Set<PublicKey>? = nil,
        kinds: Set<EventKind>? = nil,
        recipients: some Sequence<PublicKey> = [PublicKey](),
        since: Int64? = nil,
        until: Int64? = nil,
        limit: Int? = nil
    ) {
        self.ids = ids
        self.authors = authors
        self.kinds = kinds
        let values = Set(recipients.map { ByteString($0.hex) })
        if !values.isEmpty { self.tags[UInt8(ascii: "p")] = values }
        self.since = since
        self.until = until
        self.limit = limit
    }

    /// Values of all conditions, and one for the filter itself.
    public var valueCount: Int {
        1 + (self.ids?.count ?? 0) + (self.authors?.count ?? 0) + (self.kinds?.count ?? 0)
            + self.tags.values.reduce(0) { $0 + $1.count }
    }

    /// Whether `event` meets every condition but ``limit``.
    public func matches(_ event: Event) -> Bool {
        if let ids, !ids.contains(event.id) { return false }
        if let authors, !authors.contains(event.pubkey) { return false }
        if let kinds, !kinds.contains(event.kind) { return false }
        if let since, event.createdAt < since { return false }
        if let until, event.createdAt > until { return false }
        for (letter, values) in self.tags {
            let found = event.tags.contains { tag in
                guard tag.indexedLetter == letter, let value = tag.value else { return false }
                return values.contains(value)
            }
            // A missing `d` is an empty one.
            let isEmptyIdentifier =
                letter == UInt8(ascii: "d") && event.kind.retention == .addressable && event.identifier.bytes.isEmpty
                && values.contains("")
            if !found, !isEmptyIdentifier { return false }
        }
        return true
    }
}

/// Why JSON is not a filter.
public enum FilterParsingError: Error, Hashable, Sendable {
    case notAnObject
    /// A member has the wrong type or form; its name.
    case invalid(String)
    /// More filters than allowed; the limit.
    case tooMany(Int)
    /// More values in the filter than ``Filter/maximumValues``.
    case tooManyValues
}

extension FilterParsingError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notAnObject: "not an object"
        case .invalid(let name): "malformed \(name)"
        case .tooMany(let limit): "more than \(limit) filters"
        case .tooManyValues: "more than \(Filter.maximumValues) values"
        }
    }
}

extension Filter {
    /// Most values of all conditions of one filter.
    public static let maximumValues = 2_000

    /// Reads a filter. Unknown members are ignored, as relays with fewer features must.
    public init(_ value: JSONValue) throws(FilterParsingError) {
        guard case .object(let members) = value else { throw .notAnObject }
        self.init()
        var count = 0
        func values(_ value: JSONValue, _ name: String) throws(FilterParsingError) -> [JSONValue] {
            guard let elements = value.elements else { throw .invalid(name) }
            count += elements.count
            guard count <= Self.maximumValues else { throw .tooManyValues }
            return elements
        }
        for member in members {
            let name = String(decoding: member.key, as: UTF8.self)
            switch name {
            case "ids":
                self.ids = []
                for element in try values(member.value, name) {
                    guard let bytes = Self.hex32(element) else { throw .invalid(name) }
                    self.ids?.insert(EventID(bytes))
                }
            case "authors":
                self.authors = []
                for element in try values(member.value, name) {
                    guard let bytes = Self.hex32(element) else { throw .invalid(name) }
                    self.authors?.insert(PublicKey(unchecked: bytes))
                }
            case "kinds":
                self.kinds = []
                for element in try values(member.value, name) {
                    guard let integer = element.integer, integer >= 0 else { throw .invalid(name) }
                    // A kind that no event can have matches nothing.
                    if let kind = UInt16(exactly: integer) { self.kinds?.insert(EventKind(rawValue: kind)) }
                }
            case "since":
                guard let integer = member.value.integer else { throw .invalid(name) }
                self.since = integer
            case "until":
                guard let integer = member.value.integer else { throw .invalid(name) }
                self.until = integer
            case "limit":
                guard let integer = member.value.integer, integer >= 0 else { throw .invalid(name) }
                self.limit = Int(integer)
            default:
                guard member.key.count == 2, member.key[0] == UInt8(ascii: "#"), Tag.isIndexedLetter(member.key[1])
                else { continue }
                var set: Set<ByteString> = []
                for element in try values(member.value, name) {
                    guard let bytes = element.stringBytes else { throw .invalid(name) }
                    set.insert(ByteString(bytes))
                }
                self.tags[member.key[1]] = set
            }
        }
    }

    private static func hex32(_ value: JSONValue) -> Bytes32? {
        guard let bytes = value.stringBytes, bytes.count == 64 else { return nil }
        return Bytes32(lowercaseHex: bytes.span)
    }

    /// Writes the filter as a JSON object.
    public func write(into buffer: inout ByteBuffer) {
        buffer.writeStaticString("{")
        var isFirst = true
        func key(_ name: String) {
            if !isFirst { buffer.writeStaticString(",") }
            isFirst = false
            buffer.writeJSONString(name)
            buffer.writeStaticString(":")
        }
        func list(_ name: String, _ values: [String]) {
            key(name)
            buffer.writeStaticString("[")
            for (index, value) in values.enumerated() {
                if index > 0 { buffer.writeStaticString(",") }
                buffer.writeString(value)
            }
            buffer.writeStaticString("]")
        }
        if let ids { list("ids", ids.map { "\"\($0.hex)\"" }.sorted()) }
        if let authors { list("authors", authors.map { "\"\($0.hex)\"" }.sorted()) }
        if let kinds { list("kinds", kinds.map(\.rawValue).sorted().map(String.init)) }
        for (letter, values) in self.tags.sorted(by: { $0.key < $1.key }) {
            let quoted = values.map { value in
                var text = ByteBuffer()
                text.writeJSONString(value.bytes)
                return String(buffer: text)
            }
            list("#\(String(UnicodeScalar(letter)))", quoted.sorted())
        }
        for (name, value) in [("since", self.since), ("until", self.until), ("limit", self.limit.map(Int64.init))] {
            guard let value else { continue }
            key(name)
            buffer.writeDecimal(value)
        }
        buffer.writeStaticString("}")
    }
}
