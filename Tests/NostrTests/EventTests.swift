//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto
import TestSupport
import Testing

@Suite("Events")
struct EventTests {
    @Test(
        "events with unusual content parse, verify and encode again"
    )
    func validVectors() throws {
        let vectors = try TestVectors.object("events.json").objects("events")
        #expect(vectors.count == 29)
        for vector in vectors {
            let name = vector.text("name")
            for form in ["wire_ascii", "wire_utf8", "wire_slash_escaped", "wire_spaced"] {
                guard let wire = vector[form] as? String else { continue }
                let event = try Event(json: ByteBuffer(string: wire))
                #expect(event.id.hex == vector.text("id"), "\(name) \(form)")
                #expect(throws: Never.self, "\(name) \(form)") { try event.verify() }
                var canonical = ByteBuffer()
                event.writeCanonical(into: &canonical)
                #expect(Hex.encode(canonical.readableBytesView) == vector.text("canonical_utf8_hex"), "\(name)")
                let again = try Event(json: event.json)
                #expect(throws: Never.self, "\(name) \(form), encoded again") { try again.verify() }
                #expect(again.content == event.content)
                #expect(again.tags == event.tags)
            }
        }
    }

    @Test("invalid events are rejected")
    func invalidVectors() throws {
        let vectors = try TestVectors.object("events.json").objects("invalid")
        #expect(vectors.count == 31)
        for vector in vectors {
            #expect(throws: (any Error).self, "\(vector.text("name")): \(vector.text("why"))") {
                try Event(json: ByteBuffer(string: vector.text("wire"))).verify()
            }
        }
    }

    @Test("a signed event verifies, also after encoding and parsing")
    func roundTrip() throws {
        let key = SecretKey.generate()
        let event = try Event.signed(
            by: key,
            createdAt: 1_767_225_600,
            kind: .tunnelMessage,
            tags: [Tag("p", ByteString(key.publicKey.hex)), Tag("d", "e\u{301}")],
            content: ByteBuffer(string: "quotes \" and \\ and \u{1} and é")
        )
        try event.verify()
        let parsed = try Event(json: event.json)
        try parsed.verify()
        #expect(parsed.id == event.id)
        #expect(parsed.identifier == "e\u{301}")
        #expect(parsed.identifier != "\u{e9}")
    }

    @Test("deeply nested or truncated JSON is rejected")
    func hostileJSON() {
        let deep = String(repeating: "[", count: 60_000)
        for text in [deep, "{\"a\":" + deep, "{\"id\":\"", "{", "", "[[[[", "{\"tags\":[[", "\"\\u12"] {
            #expect(throws: (any Error).self) { try Event(json: ByteBuffer(string: text)) }
            #expect(throws: JSONError.self) { try JSONValue.parse(ByteBuffer(string: text)) }
        }
    }

    @Test("the kind of an event determines how relays store it")
    func retention() {
        #expect(EventKind.tunnelMessage.retention == .ephemeral)
        #expect(EventKind.exitAnnouncement.retention == .addressable)
        #expect(EventKind.relayList.retention == .replaceable)
        #expect(EventKind.deletion.retention == .regular)
        #expect(EventKind.metadata.retention == .replaceable)
    }

    @Test("long content is parsed correctly with a special character at any position")
    func longContent() throws {
        let key = SecretKey.generate()
        for special in ["\"", "\\", "\u{1f}", "\u{7f}", "é", "x", " "] {
            for position in [0, 1, 31, 32, 33, 127, 128, 129, 159, 160, 190, 199] {
                var text = String(repeating: "a", count: 200)
                text.insert(contentsOf: special, at: text.index(text.startIndex, offsetBy: position))
                let content = ByteBuffer(string: text)
                let event = try Event.signed(by: key, createdAt: 1, kind: .tunnelMessage, tags: [], content: content)
                let parsed = try Event(json: event.json)
                try parsed.verify()
                #expect(parsed.content == content, "\(special) at \(position)")
            }
        }
    }

    @Test(
        "an event with proof of work is valid and has the leading zero bits that its tag names",
        arguments: [0, 1, 8, 11]
    )
    func work(bits: Int) throws {
        let event = try Event.signed(
            by: SecretKey.generate(),
            createdAt: 1_700_000_000,
            kind: .tunnelMessage,
            tags: [Tag("p", "x")],
            content: ByteBuffer(string: "a \"quoted\" text\n"),
            work: bits
        )
        try event.verify()
        #expect(event.work >= bits)
        #expect(event.tags.count == (bits == 0 ? 1 : 2))
        if bits > 0 { #expect(event.tags[1].fields[2].text == "\(bits)") }
    }
}
