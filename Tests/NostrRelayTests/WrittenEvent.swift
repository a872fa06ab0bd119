//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto

/// An event as a client writes it: JSON members in any order, with any values.
struct WrittenEvent: Sendable {
    /// A member of the JSON object.
    struct Member: Sendable {
        let name: String
        /// The JSON of the value.
        let value: String
    }

    var members: [Member]

    /// The JSON object.
    var json: ByteString {
        let members = self.members.map { "\($0.name.quoted):\($0.value)" }
        return ByteString("{\(members.joined(separator: ","))}")
    }

    /// The message that publishes the event.
    var message: String { "[\"EVENT\",\(self.json.text)]" }

    /// The id as 64 hex digits.
    var id: String { self.text("id") }

    /// The signature as 128 hex digits.
    var signature: String { self.text("sig") }

    private func text(_ name: String) -> String {
        String((self.members.first { $0.name == name }?.value ?? "").dropFirst().dropLast())
    }

    /// Returns the event with the JSON `value` for the member `name`. Nothing is signed again.
    func replacing(_ name: String, with value: String) -> WrittenEvent {
        WrittenEvent(members: self.members.map { $0.name == name ? Member(name: name, value: value) : $0 })
    }

    /// Returns the event without the member `name`.
    func removing(_ name: String) -> WrittenEvent {
        WrittenEvent(members: self.members.filter { $0.name != name })
    }
}

/// A user of a relay, who signs events with a new key.
struct Author: Sendable {
    let key = SecretKey.generate()

    /// The public key as 64 hex digits.
    var hex: String { self.key.publicKey.hex }

    /// Returns a signed event.
    func event(
        _ content: String = "",
        kind: UInt16 = 1,
        at date: Int64 = RelayHarness.now,
        tags: [[String]] = []
    ) throws -> WrittenEvent {
        try self.event(content, writtenKind: "\(kind)", at: date, tags: tags)
    }

    /// Returns a signed event whose kind is any JSON, and whose tags may be empty.
    ///
    /// The canonical form (NIP-01) is written here, because the library cannot represent such events.
    func event(
        _ content: String = "",
        writtenKind kind: String,
        at date: Int64 = RelayHarness.now,
        tags: [[String]] = []
    ) throws -> WrittenEvent {
        let arrays = tags.map { tag in "[\(tag.map(\.quoted).joined(separator: ","))]" }
        let writtenTags = "[\(arrays.joined(separator: ","))]"
        let canonical = "[0,\(self.hex.quoted),\(date),\(kind),\(writtenTags),\(content.quoted)]"
        let id = Bytes32.sha256(of: Array(canonical.utf8))
        let signature = try self.key.sign(id).hex
        return WrittenEvent(members: [
            WrittenEvent.Member(name: "id", value: id.hex.quoted),
            WrittenEvent.Member(name: "pubkey", value: self.hex.quoted),
            WrittenEvent.Member(name: "created_at", value: "\(date)"),
            WrittenEvent.Member(name: "kind", value: kind),
            WrittenEvent.Member(name: "tags", value: writtenTags),
            WrittenEvent.Member(name: "content", value: content.quoted),
            WrittenEvent.Member(name: "sig", value: signature.quoted),
        ])
    }

    /// Returns a deletion request (NIP-09).
    func deletion(_ tags: [[String]], at date: Int64 = RelayHarness.now) throws -> WrittenEvent {
        try self.event(kind: 5, at: date, tags: tags)
    }

    /// Returns a note that only its author may publish (NIP-70).
    func protectedNote() throws -> WrittenEvent {
        try self.event("by its author alone", tags: [["-"]])
    }

    /// Returns an answer to a challenge (NIP-42).
    func answer(
        to challenge: String,
        relay: String = RelayHarness.url,
        kind: UInt16 = 22_242,
        at date: Int64 = RelayHarness.now
    ) throws -> WrittenEvent {
        try self.event(kind: kind, at: date, tags: [["relay", relay], ["challenge", challenge]])
    }

    /// The address of a replaceable or addressable event.
    func address(_ kind: UInt16, _ identifier: String = "") -> String {
        "\(kind):\(self.hex):\(identifier)"
    }

    /// Returns a filter for the events of this author.
    func query(
        kinds: [Int]? = nil,
        tags: [String: [String]] = [:],
        since: Int64? = nil,
        until: Int64? = nil,
        limit: Int64? = nil
    ) -> Query {
        Query(authors: [self.hex], kinds: kinds, tags: tags, since: since, until: until, limit: limit)
    }
}

/// A filter as a client writes it.
struct Query: Sendable {
    /// The JSON object.
    let json: String

    /// Creates a filter with any JSON.
    init(json: String) { self.json = json }

    /// Creates a filter. `tags` are the conditions for tags, by letter.
    init(
        ids: [String]? = nil,
        authors: [String]? = nil,
        kinds: [Int]? = nil,
        tags: [String: [String]] = [:],
        since: Int64? = nil,
        until: Int64? = nil,
        limit: Int64? = nil
    ) {
        var lists: [(String, [String])] = []
        if let ids { lists.append(("ids", ids.map(\.quoted))) }
        if let authors { lists.append(("authors", authors.map(\.quoted))) }
        if let kinds { lists.append(("kinds", kinds.map { String($0) })) }
        for (letter, values) in tags { lists.append(("#\(letter)", values.map(\.quoted))) }
        var members = lists.map { name, values in "\(name.quoted):[\(values.joined(separator: ","))]" }
        if let since { members.append("\"since\":\(since)") }
        if let until { members.append("\"until\":\(until)") }
        if let limit { members.append("\"limit\":\(limit)") }
        self.json = "{\(members.joined(separator: ","))}"
    }
}

extension String {
    /// The text as a JSON string, with the escapes of NIP-01.
    var quoted: String {
        var buffer = ByteBuffer()
        buffer.writeJSONString(self)
        return String(buffer: buffer)
    }
}
