//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing

@testable import Tunnel

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite("The journal of served requests")
struct ReplayJournalTests {
    private let path = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path()
    private let client = SecretKey.generate().publicKey
    private let now: Int64 = 1_000_000

    private func admits(_ key: String, _ journal: ReplayJournal, at now: Int64? = nil) -> Bool {
        journal.admit(client: self.client, key: key, createdAt: now ?? self.now, now: now ?? self.now)
    }

    private func remove() {
        for suffix in ["", ".lock"] { try? FileManager.default.removeItem(atPath: self.path + suffix) }
    }

    @Test("a request is served once, also after restarts while the clock was ahead")
    func clockAhead() throws {
        defer { self.remove() }
        do {
            let journal = try ReplayJournal(path: self.path, now: self.now)
            #expect(self.admits("a", journal))
            #expect(!self.admits("a", journal))
        }
        _ = try ReplayJournal(path: self.path, now: self.now + 1_500)
        let journal = try ReplayJournal(path: self.path, now: self.now)
        #expect(!self.admits("a", journal))
        #expect(self.admits("b", journal))
    }

    @Test("a file that is no journal is refused and kept", arguments: ["", "text", String(repeating: "x", count: 80)])
    func damaged(text: String) throws {
        defer { self.remove() }
        try Data(text.utf8).write(to: URL(filePath: self.path))
        #expect(throws: DamagedStateFile.self) { try ReplayJournal(path: self.path, now: self.now) }
        #expect(try Data(contentsOf: URL(filePath: self.path)) == Data(text.utf8))
    }

    @Test("the last record may be cut off")
    func truncated() throws {
        defer { self.remove() }
        do {
            let journal = try ReplayJournal(path: self.path, now: self.now)
            for key in ["a", "b"] { #expect(self.admits(key, journal)) }
        }
        let data = try Data(contentsOf: URL(filePath: self.path))
        try data.dropLast(1).write(to: URL(filePath: self.path))
        let journal = try ReplayJournal(path: self.path, now: self.now)
        #expect(!self.admits("a", journal))
        #expect(self.admits("b", journal))
    }

    @Test("nothing is served while the file cannot be written, and requests are served again afterwards")
    func recovery() throws {
        let folder = self.path + "-folder"
        let journal = try ReplayJournal(path: folder + "/journal", now: self.now)
        #expect(journal.failure != nil)
        #expect(!self.admits("a", journal))
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        // It is not tried again with every request.
        #expect(!self.admits("a", journal))
        #expect(self.admits("a", journal, at: self.now + 10))
        #expect(journal.failure == nil)
        #expect(!self.admits("a", journal, at: self.now + 10))
    }
}
