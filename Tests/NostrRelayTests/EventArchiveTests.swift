//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import Logging
import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import NostrRelay

@Suite("The archive of a relay's events")
struct EventArchiveTests {
    private static func added(_ event: ReceivedEvent) -> EventStore.Change {
        .added(event.event.id, createdAt: event.event.createdAt, json: event.json)
    }

    @Test("no change is lost if the archive is closed while it writes")
    func closingWhileWriting() async throws {
        let key = SecretKey.generate()
        let events = try (0..<20).map { try makeEvent(key, content: "\($0)") }
        for _ in 0..<50 {
            let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let path = folder.appending(path: "events.sqlite").path()
            let archive = try EventArchive(path: path, logger: Logger(label: "test"))
            for event in events { archive.apply([Self.added(event)]) }
            try await archive.close()
            let again = try EventArchive(path: path, logger: Logger(label: "test"))
            #expect(try again.load().count == events.count)
            try await again.close()
        }
    }

    @Test("the memory of what waits for the disk is limited")
    func pendingBytes() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "events.sqlite").path()
        let large = try makeEvent(SecretKey.generate(), content: String(repeating: "x", count: 1 << 20))
        let archive = try EventArchive(path: path, logger: Logger(label: "test"))
        archive.apply(Array(repeating: Self.added(large), count: 60))
        #expect(!archive.isBehind)
        archive.apply(Array(repeating: Self.added(large), count: 70))
        #expect(archive.isBehind)
        try await archive.close()
    }

    @Test("events are read in the order in which they arrived, whatever their dates")
    func order() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "events.sqlite").path()
        let events = try [300, 100, 200].map { try makeEvent(SecretKey.generate(), createdAt: $0, content: "\($0)") }
        let archive = try EventArchive(path: path, logger: Logger(label: "test"))
        archive.apply(events.map(Self.added))
        try await archive.close()
        let again = try EventArchive(path: path, logger: Logger(label: "test"))
        #expect(try again.load().map(\.event.id) == events.map(\.event.id))
        try await again.close()
    }
}
