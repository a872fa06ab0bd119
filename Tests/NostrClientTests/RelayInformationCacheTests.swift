//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import Testing

@testable import NostrClient

@Suite("Cache of relay information documents")
struct RelayInformationCacheTests {
    let start = NIODeadline.now()

    static func url(_ number: Int) throws -> RelayURL { try RelayURL("ws://relay-\(number).example") }

    static func information(_ name: String) -> RelayInformation {
        var information = RelayInformation()
        information.name = name
        return information
    }

    @Test("a document is used until it expires, and only for its own relay")
    func validity() throws {
        let cache = RelayInformationCache()
        let (url, other) = (try Self.url(1), try Self.url(2))
        cache.note(Self.information("one"), clock: RelayClock(reported: 3, at: 0), of: url, at: self.start)
        #expect(cache.known(of: other, at: self.start) == nil)
        let last = self.start + RelayInformationCache.validity - .nanoseconds(1)
        #expect(cache.known(of: url, at: last)?.information.name == "one")
        #expect(cache.known(of: url, at: last)?.clock?.reported == 3)
        #expect(cache.known(of: url, at: self.start + RelayInformationCache.validity) == nil)
        // And is gone for good.
        #expect(cache.known(of: url, at: self.start) == nil)
    }

    @Test("what a relay asked of one connection holds for the others, until then")
    func refusals() throws {
        let cache = RelayInformationCache()
        let (url, other) = (try Self.url(1), try Self.url(2))
        let until = self.start + .seconds(30)
        cache.note(.init(until: until, reason: "HTTP 429"), of: url, at: self.start)
        #expect(cache.refusal(of: url, at: self.start + .seconds(29))?.reason == "HTTP 429")
        #expect(cache.refusal(of: url, at: until) == nil)
        #expect(cache.refusal(of: other, at: self.start) == nil)
    }

    @Test("after a lost connection the document is requested again")
    func lost() throws {
        let cache = RelayInformationCache()
        let url = try Self.url(1)
        cache.note(Self.information("one"), clock: nil, of: url, at: self.start)
        cache.forget(url)
        #expect(cache.known(of: url, at: self.start) == nil)
    }

    @Test("the number of cached documents is limited, and expired ones are removed first")
    func bound() throws {
        let cache = RelayInformationCache()
        let later = self.start + RelayInformationCache.validity
        for number in 0..<RelayInformationCache.maximumRelays {
            let isOld = number < 10
            cache.note(
                Self.information("old"),
                clock: nil,
                of: try Self.url(number),
                at: isOld ? self.start : later
            )
        }
        cache.note(Self.information("new"), clock: nil, of: try Self.url(1_000), at: later)
        #expect(cache.count == RelayInformationCache.maximumRelays - 9)
        for number in 1_001..<3_000 {
            cache.note(Self.information("new"), clock: nil, of: try Self.url(number), at: later)
            #expect(cache.count <= RelayInformationCache.maximumRelays)
            #expect(cache.known(of: try Self.url(number), at: later) != nil)
        }
    }
}
