//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

@testable import nws

@Suite("The list of public relays")
struct PublicRelayListTests {
    @Test("the list that ships has only secure relays, each with the date and source of its entry")
    func shipped() {
        let entries = PublicRelayList.shipped.entries
        #expect(entries.count >= 8)
        for entry in entries {
            #expect(entry.url.isSecure)
            #expect(entry.date.wholeMatch(of: /20[0-9]{2}-[0-9]{2}(-[0-9]{2})?/) != nil, "\(entry.url)")
            #expect(!entry.source.isEmpty, "\(entry.url)")
        }
        #expect(Set(entries.map(\.url.host)).count == entries.count)
    }

    @Test("comments and repetitions are left out; an invalid line is an error with its number")
    func parsing() throws {
        let list = try PublicRelayList(
            "# a\n\nwss://a.example 2026-01 a list # note\nwss://A.example/\n  b.example\n",
            "f"
        )
        #expect(list.entries.map(\.url.text) == ["wss://a.example", "wss://b.example"])
        #expect(list.entries[0].date == "2026-01" && list.entries[0].source == "a list ")
        let error = try #require(throws: CommandError.self) { try PublicRelayList("wss://a\nftp://b\n", "f") }
        #expect(error.message.contains("f, line 2: ftp://b"))
    }
}
