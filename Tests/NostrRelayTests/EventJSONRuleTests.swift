//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import Testing

@Suite("Rules of the JSON of events")
struct EventJSONRuleTests {
    private let author = Author()
    private let client: MemoryClient

    init() throws {
        self.client = try RelayHarness().connect()
    }

    /// The content of an event and another way to write it as a JSON string, without quotes.
    struct Escaped: Sendable {
        let content: String
        let written: String
    }

    private static let controlCodes = Array(UInt8(1)..<32)

    static let escapes = [
        Escaped(content: "A/\u{e9}\u{1f30d}", written: #"\u0041\/\u00E9\ud83c\uDF0D"#),
        Escaped(content: "\n\"\\", written: #"\u000a\u0022\u005C"#),
        Escaped(
            content: String(decoding: Self.controlCodes, as: UTF8.self),
            written: Self.controlCodes.map { #"\u00"# + Hex.encode([$0]) }.joined()
        ),
        Escaped(content: "\u{7f}\u{2028}", written: #"\u007f\u2028"#),
    ]

    @Test("the escapes of NIP-01 are accepted")
    func listedEscapes() throws {
        let value = "\n\"\\\r\t\u{8}\u{c}"
        let event = try self.author.event(
            "lf\n quote\" backslash\\ cr\r tab\t bs\u{8} ff\u{c}",
            tags: [["t", value]]
        )
        #expect(event.json.text.contains(#"lf\n quote\" backslash\\ cr\r tab\t bs\b ff\f"#))
        #expect(try self.client.publish(event) == .accepted)
        #expect(try self.client.stored(event) == event.json)
        #expect(try self.client.found(self.author.query(tags: ["t": [value]])) == [event.json])
    }

    @Test(
        "all other escapes of JSON are accepted, and the id is the hash of the characters that they stand for",
        arguments: Self.escapes
    )
    func otherEscapes(text: Escaped) throws {
        let event = try self.author.event(text.content).replacing("content", with: "\"\(text.written)\"")
        #expect(try self.client.publish(event) == .accepted)
        #expect(try self.client.stored(event) == event.json)
    }

    @Test(
        "a control character that is not escaped makes the message invalid",
        arguments: ["\n", "\r", "\t", "\u{8}", "\u{c}", "\0", "\u{1f}"]
    )
    func controlCharacters(character: String) throws {
        let event = try self.author.event("a\(character)b")
        let raw = event.replacing("content", with: "\"a\(character)b\"")
        // Without valid JSON there is no id, so the answer is a NOTICE instead of an OK.
        let answers = try self.client.exchange([raw.message])
        #expect(answers.count == 1)
        #expect(answers.first?.hasPrefix(#"["NOTICE","invalid: "#) == true)
        #expect(try self.client.stored(event) == nil)
        try self.client.accepts(event)
    }

    @Test("an escaped null is a character like others")
    func null() throws {
        let event = try self.author.event("before\0after", tags: [["t", "\0"]])
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == event.json)
        #expect(try self.client.found(self.author.query(tags: ["t": ["\0"]])) == [event.json])
        #expect(try self.client.found(self.author.query(tags: ["t": [""]])).isEmpty)
    }

    @Test("noncharacters of Unicode are accepted")
    func noncharacters() throws {
        var codes = Array(UInt32(0xfdd0)..<0xfdf0)
        for plane in UInt32(0)..<17 { codes += [plane << 16 | 0xfffe, plane << 16 | 0xffff] }
        codes.append(0x10_fff2)
        var content = ""
        for code in codes {
            content.unicodeScalars.append(try #require(Unicode.Scalar(code)))
        }
        let tag = String(try #require(Unicode.Scalar(UInt32(0xfdd1))))
        let event = try self.author.event(content, tags: [["t", tag]])
        try self.client.accepts(event)
        #expect(try self.client.stored(event) == event.json)
        #expect(try self.client.found(self.author.query(tags: ["t": [tag]])) == [event.json])
    }

    @Test("the members of an event keep their order")
    func order() throws {
        #expect(try self.client.subscribe("live", self.author.query()).isEmpty)
        for number in 0..<5 {
            let event = try self.author.event("\(number)", at: RelayHarness.now - Int64(number))
            let reordered = WrittenEvent(members: Array(event.members[number...] + event.members[..<number]))
            try self.client.accepts(reordered)
            #expect(try self.client.live("live") == [reordered.json])
            #expect(try self.client.stored(event) == reordered.json)
        }
    }

    @Test("members with other names are kept")
    func otherMembers() throws {
        var event = try self.author.event("a note")
        event.members.insert(WrittenEvent.Member(name: "first", value: "null"), at: 0)
        event.members.append(WrittenEvent.Member(name: "ots", value: #""proof""#))
        event.members.append(WrittenEvent.Member(name: "other", value: #"{"deep":[1,-2.5e3,true,"\u00e9"]}"#))
        #expect(try self.client.subscribe("live", self.author.query()).isEmpty)
        try self.client.accepts(event)
        #expect(try self.client.live("live") == [event.json])
        #expect(try self.client.stored(event) == event.json)
    }
}
