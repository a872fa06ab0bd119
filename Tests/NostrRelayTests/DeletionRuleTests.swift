//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import Testing

/// Deletion requests (NIP-09). The relay stores them even if they refer to events that it does not know, which may come
/// later. They never affect events of other authors.
@Suite("Rules of deletion")
struct DeletionRuleTests {
    private let author = Author()
    private let other = Author()
    private let client: MemoryClient
    private let now = RelayHarness.now

    init() throws {
        self.client = try RelayHarness().connect()
    }

    private func article(
        of author: Author,
        _ identifier: String,
        age: Int64,
        kind: UInt16 = 30_023
    ) throws -> WrittenEvent {
        try author.event("an article", kind: kind, at: self.now - age, tags: [["d", identifier]])
    }

    private func articles(of author: Author) throws -> [ByteString] {
        try self.client.found(author.query(kinds: [30_023]))
    }

    @Test("events are deleted by id, and the deletion request is stored")
    func byID() throws {
        let notes = try ["one", "two", "kept"].map { try self.author.event($0) }
        let article = try self.article(of: self.author, "one", age: 10)
        try self.client.accepts(notes + [article])
        let request = try self.author.deletion([["e", notes[0].id], ["e", notes[1].id], ["e", article.id]])
        try self.client.accepts(request)
        let ids = notes.map(\.id) + [article.id]
        #expect(try self.client.found(Query(ids: ids)) == [notes[2].json])
        #expect(try self.client.stored(request) == request.json)
    }

    @Test("events are deleted by address")
    func byAddress() throws {
        let article = try self.article(of: self.author, "with:a:colon", age: 10)
        let profile = try self.author.event("{}", kind: 0, at: self.now - 10)
        try self.client.accepts([article, profile])
        #expect(try self.client.stored(article) == article.json)
        #expect(try self.client.stored(profile) == profile.json)
        let addresses = [self.author.address(30_023, "with:a:colon"), self.author.address(0)]
        try self.client.accepts(self.author.deletion(addresses.map { ["a", $0] }))
        #expect(try self.client.found(self.author.query(kinds: [0, 30_023])).isEmpty)
    }

    @Test("a deletion by address does not delete newer events")
    func newer() throws {
        let newer = try self.article(of: self.author, "one", age: 60)
        try self.client.accepts([
            self.article(of: self.author, "one", age: 300), newer, self.article(of: self.author, "two", age: 300),
        ])
        let addresses = ["one", "two"].map { self.author.address(30_023, $0) }
        try self.client.accepts(self.author.deletion(addresses.map { ["a", $0] }, at: self.now - 180))
        #expect(try self.articles(of: self.author) == [newer.json])
    }

    @Test("a deletion by address does not delete events of other addresses")
    func otherAddresses() throws {
        let gone = try self.article(of: self.author, "one", age: 10)
        let kept = [
            try self.article(of: self.other, "one", age: 10), try self.article(of: self.author, "one more", age: 10),
            try self.article(of: self.author, "one", age: 10, kind: 30_024),
        ]
        try self.client.accepts([gone] + kept)
        try self.client.accepts(self.author.deletion([["a", self.author.address(30_023, "one")]]))
        let found = try self.client.found(Query(ids: [gone.id] + kept.map(\.id)))
        #expect(Set(found) == Set(kept.map(\.json)))
    }

    @Test("a deletion by id does not delete events of other authors, also if they come later")
    func idsOfOthers() throws {
        let event = try self.other.event("not yours")
        let later = try self.other.event("not yours either")
        try self.client.accepts(event)
        try self.client.accepts(self.author.deletion([["e", event.id], ["e", later.id]]))
        #expect(try self.client.stored(event) == event.json)
        try self.client.accepts(later)
        #expect(try self.client.stored(later) == later.json)
    }

    @Test("a deletion by address does not delete events of other authors, also if they come later")
    func addressesOfOthers() throws {
        let event = try self.article(of: self.other, "one", age: 10)
        let later = try self.article(of: self.other, "two", age: 10)
        try self.client.accepts(event)
        let addresses = ["one", "two"].map { self.other.address(30_023, $0) }
        try self.client.accepts(self.author.deletion(addresses.map { ["a", $0] }))
        #expect(try self.client.stored(event) == event.json)
        try self.client.accepts(later)
        #expect(try self.client.stored(later) == later.json)
    }

    @Test("an event that was deleted by id is rejected, also if it comes after its deletion")
    func resubmission() throws {
        let event = try self.author.event("deleted")
        let early = try self.author.event("deleted before it came")
        try self.client.accepts(event)
        try self.client.accepts(self.author.deletion([["e", event.id], ["e", early.id]]))
        #expect(try self.client.subscribe("live", Query(ids: [event.id, early.id])).isEmpty)
        for again in [event, early] {
            try self.client.rejects(again, .blocked)
            #expect(try self.client.stored(again) == nil)
        }
        #expect(try self.client.live("live").isEmpty)
    }

    @Test("a deleted address takes no event from before the deletion")
    func olderAfterDeletion() throws {
        let event = try self.article(of: self.author, "one", age: 300)
        try self.client.accepts(event)
        try self.client.accepts(
            self.author.deletion([["a", self.author.address(30_023, "one")]], at: self.now - 120)
        )
        // Neither the deleted version nor any other one from before the deletion is accepted.
        try self.client.rejects(event, .blocked)
        try self.client.rejects(self.article(of: self.author, "one", age: 200), .blocked)
        #expect(try self.articles(of: self.author).isEmpty)
    }

    @Test("a deleted address takes an event from after the deletion")
    func newerAfterDeletion() throws {
        try self.client.accepts(self.article(of: self.author, "one", age: 300))
        try self.client.accepts(
            self.author.deletion([["a", self.author.address(30_023, "one")]], at: self.now - 120)
        )
        let newer = try self.article(of: self.author, "one", age: 60)
        try self.client.accepts(newer)
        #expect(try self.articles(of: self.author) == [newer.json])
    }

    @Test("a deletion does not delete what refers to the event")
    func referrers() throws {
        let event = try self.author.event("a note")
        let reactions = try [self.author, self.other].map { try $0.event("+", kind: 7, tags: [["e", event.id]]) }
        try self.client.accepts([event] + reactions)
        try self.client.accepts(self.author.deletion([["e", event.id]]))
        #expect(try self.client.stored(event) == nil)
        let found = try self.client.found(Query(kinds: [7], tags: ["e": [event.id]]))
        #expect(Set(found) == Set(reactions.map(\.json)))
    }

    @Test("a deletion of a deletion has no effect, whether it comes after it or before it")
    func deletionOfDeletion() throws {
        let note = try self.author.event("deleted for good")
        let first = try self.author.deletion([["e", note.id]])
        let second = try self.author.deletion([["e", String(repeating: "ab", count: 32)]])
        try self.client.accepts([note, first])
        try self.client.accepts(self.author.deletion([["e", first.id], ["e", second.id]]))
        #expect(try self.client.stored(first) == first.json)
        try self.client.rejects(note, .blocked)
        try self.client.accepts(second)
    }
}
