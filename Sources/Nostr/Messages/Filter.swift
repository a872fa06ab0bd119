//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import NostrCrypto

/// A filter that selects the events of a subscription (NIP-01).
///
/// An event must meet every condition. Within a condition, one matching value is enough. A nil condition matches every
/// event; an empty set matches none.
package struct Filter: Hashable, Sendable {
    /// The IDs to match.
    package var ids: Set<EventID>?
    /// The authors to match.
    package var authors: Set<PublicKey>?
    /// The kinds to match.
    package var kinds: Set<EventKind>?
    /// Tag conditions by tag letter: the event must have a tag with that letter and one of the values.
    package var tags: [UInt8: Set<ByteString>] = [:]
    /// The earliest `created_at`, inclusive, in seconds since 1970.
    package var since: Int64?
    /// The latest `created_at`, inclusive, in seconds since 1970.
    package var until: Int64?
    /// Maximum number of stored events that the relay returns. It does not limit new events.
    package var limit: Int?

    /// Creates a filter.
    ///
    /// - Parameter recipients: Keys to match in `p` tags. An empty sequence adds no condition.
    package init(
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

    /// The number of values in all conditions, plus one for the filter itself. The relay limits the sum for all filters
    /// of a connection.
    package var valueCount: Int {
        1 + (self.ids?.count ?? 0) + (self.authors?.count ?? 0) + (self.kinds?.count ?? 0)
            + self.tags.values.reduce(0) { $0 + $1.count }
    }

    /// The estimated memory of the values in bytes. The relay limits the sum for all filters of a connection.
    package var byteCount: Int {
        64 * self.valueCount
            + self.tags.values.reduce(0) { $0 + $1.reduce(0) { $0 + $1.bytes.count } }
    }

    /// Whether no event can meet the conditions: one of them has no values, or the range of dates is empty.
    package var matchesNothing: Bool {
        if let since, let until, since > until { return true }
        return self.ids?.isEmpty ?? false || self.authors?.isEmpty ?? false || self.kinds?.isEmpty ?? false
            || self.tags.values.contains { $0.isEmpty }
    }

    /// Whether `event` meets every condition. ``limit`` is ignored.
    package func matches(_ event: Event) -> Bool {
        var comparisons = 0
        return self.matches(event, nil, comparisons: &comparisons)
    }

    /// Whether `event` meets every condition. ``limit`` is ignored.
    ///
    /// - Parameters:
    ///   - index: The tags of the event by letter; nil to search them.
    ///   - comparisons: Increased by a quarter of the number of tags (without an index) or values (with one) that were
    ///     compared.
    package func matches(_ event: Event, _ index: TagIndex?, comparisons: inout Int) -> Bool {
        // The cheapest conditions first.
        if let since, event.createdAt < since { return false }
        if let until, event.createdAt > until { return false }
        if let kinds, !kinds.contains(event.kind) { return false }
        if let authors, !authors.contains(event.pubkey) { return false }
        if let ids, !ids.contains(event.id) { return false }
        for (letter, values) in self.tags {
            let found: Bool
            if let index {
                comparisons += min(values.count, index[letter].count) / 4
                found = !index[letter].isDisjoint(with: values)
            } else {
                comparisons += event.tags.count / 4
                found = event.tags.contains { tag in
                    guard tag.indexedLetter == letter, let value = tag.value else { return false }
                    return values.contains(value)
                }
            }
            // An addressable event without a `d` tag has an empty identifier.
            let isEmptyIdentifier =
                letter == UInt8(ascii: "d") && event.kind.retention == .addressable && event.identifier.bytes.isEmpty
                && values.contains("")
            if !found, !isEmptyIdentifier { return false }
        }
        return true
    }
}

/// The reason why a JSON value is not a filter, or why a REQ has too many of them.
package enum FilterParsingError: Error, Hashable, Sendable {
    /// The value is not a JSON object.
    case notAnObject
    /// The member with this name has the wrong type or form.
    case invalid(String)
    /// The REQ has more filters than this limit.
    case tooMany(Int)
    /// The filter has more than ``Filter/maximumValues`` values.
    case tooManyValues
    /// A value of a tag condition has more than ``Filter/maximumValueLength`` bytes.
    case valueTooLong
}

extension FilterParsingError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notAnObject: "filter is not a JSON object"
        case .invalid(let name): "filter has an invalid \"\(name)\" field"
        case .tooMany(let limit): "more than \(limit) filters in one REQ"
        case .tooManyValues: "more than \(Filter.maximumValues) values in one filter"
        case .valueTooLong: "a value of a filter is longer than \(Filter.maximumValueLength) bytes"
        }
    }
}

extension Filter {
    /// Maximum number of values in all conditions of a filter.
    package static let maximumValues = 2_000
    /// Maximum length of a value in a tag condition, in bytes.
    package static let maximumValueLength = 1_024

    /// Creates a filter from a JSON object. Unknown members are ignored.
    package init(_ value: JSONValue) throws(FilterParsingError) {
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
                    // A kind above 65535 cannot match any event and is left out.
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
                    guard bytes.count <= Self.maximumValueLength else { throw .valueTooLong }
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
    package func write(into buffer: inout ByteBuffer) {
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
