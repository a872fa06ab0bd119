//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import GRDB
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Nostr
import NostrCrypto

/// Keeps a relay's events in an SQLite file, so that a restart forgets nothing.
///
/// Follows the store in memory, which answers all questions: changes are written in their order, batch by batch, a
/// moment after they were made. Where they cannot be written the relay takes no more events to keep.
public final class EventArchive: Sendable {
    /// Why a file cannot be used.
    public struct OpeningError: Error, CustomStringConvertible {
        public let description: String
    }

    private struct State {
        var pending: [EventStore.Change] = []
        var isWriting = false
        var isBehind = false
        /// Whether the last attempt failed, so that a failure is said once.
        var hasFailed = false
        var isClosed = false
    }

    /// Changes that may wait to be written.
    static let maximumPending = 10_000
    /// Until another attempt after one that failed.
    private static let retryInterval: Duration = .seconds(2)

    private let database: DatabaseQueue
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    /// Opens the file, or makes it.
    ///
    /// - Throws: Why it cannot be used; a file that is none of SQLite's, for instance.
    init(path: String, logger: Logger) throws(OpeningError) {
        var configuration = Configuration()
        configuration.label = "nws-relay"
        // Another process with the same file: a moment's patience, then an error.
        configuration.busyMode = .timeout(2)
        configuration.prepareDatabase { database in
            // Two relays that wrote one file would each miss what the other keeps.
            try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
            // A crash of the program loses nothing that was written; of the machine, at most the last moment.
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        self.logger = logger
        do {
            self.database = try DatabaseQueue(path: path, configuration: configuration)
            try Self.prepare(self.database)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
            throw OpeningError(description: "\(path): another relay has it open")
        } catch {
            throw OpeningError(description: "\(path): \((error as? DatabaseError)?.message ?? "\(error)")")
        }
    }

    private static func prepare(_ database: DatabaseQueue) throws {
        try database.inDatabase { try $0.execute(sql: "PRAGMA journal_mode = WAL") }
        var migrator = DatabaseMigrator()
        migrator.registerMigration("events") { database in
            try database.create(table: "event") { table in
                table.primaryKey("id", .blob)
                table.column("created_at", .integer).notNull().indexed()
                table.column("json", .blob).notNull()
            }
        }
        try migrator.migrate(database)
    }

    /// All events, oldest first. What cannot be read, or is not what its author signed, is left out.
    func load() throws -> [ReceivedEvent] {
        try self.database.read { database in
            var events: [ReceivedEvent] = []
            let rows = try Row.fetchCursor(database, sql: "SELECT json FROM event ORDER BY created_at, id")
            while let row = try rows.next() {
                let json = try row.withUnsafeData(atIndex: 0) { data in data.map { ByteBuffer(bytes: $0) } }
                guard let json, let event = try? Event(json: json), (try? event.verify()) != nil else {
                    self.logger.warning("an event of the store cannot be read")
                    continue
                }
                events.append(ReceivedEvent(event: event, json: json))
            }
            return events
        }
    }

    /// Whether so much waits to be written that nothing more should come.
    var isBehind: Bool { self.state.withLockedValue { $0.isBehind } }

    /// Writes changes, soon and in order.
    func apply(_ changes: [EventStore.Change]) {
        guard !changes.isEmpty else { return }
        let mustWrite = self.state.withLockedValue { state in
            state.pending += changes
            state.isBehind = state.isClosed || state.hasFailed || state.pending.count > Self.maximumPending
            guard !state.isClosed, !state.isWriting else { return false }
            state.isWriting = true
            return true
        }
        if mustWrite { self.write() }
    }

    /// Writes what waits, and what comes meanwhile.
    private func write() {
        let batch: [EventStore.Change]? = self.state.withLockedValue { state in
            guard !state.isClosed else { return nil }
            let batch = state.pending
            state.pending = []
            return batch
        }
        guard let batch else { return }
        self.database.asyncWrite { database in
            for change in batch { try Self.write(change, database) }
        } completion: { _, result in
            switch result {
            case .success:
                let (goesOn, hadFailed) = self.state.withLockedValue { state in
                    let hadFailed = state.hasFailed
                    state.hasFailed = false
                    state.isBehind = state.pending.count > Self.maximumPending
                    state.isWriting = !state.pending.isEmpty
                    return (state.isWriting, hadFailed)
                }
                if hadFailed { self.logger.notice("the store can be written again") }
                if goesOn { self.write() }
            case .failure(let error):
                self.failed(batch, error)
            }
        }
    }

    private func failed(_ batch: [EventStore.Change], _ error: any Error) {
        let isNew = self.state.withLockedValue { state in
            // Nothing of it was written.
            state.pending = batch + state.pending
            state.isBehind = true
            defer { state.hasFailed = true }
            return !state.hasFailed
        }
        if isNew {
            self.logger.error(
                "cannot write the store; no events are kept until it works again",
                metadata: ["error": "\(error)"]
            )
        }
        Task {
            try? await Task.sleep(for: Self.retryInterval)
            self.write()
        }
    }

    private static func write(_ change: EventStore.Change, _ database: Database) throws {
        switch change {
        case .added(let received):
            let statement = try database.cachedStatement(
                sql: "INSERT OR REPLACE INTO event (id, created_at, json) VALUES (?, ?, ?)"
            )
            try statement.execute(arguments: [
                Data(received.event.id.bytes.bytes), received.event.createdAt,
                Data(received.json.readableBytesView),
            ])
        case .removed(let id):
            let statement = try database.cachedStatement(sql: "DELETE FROM event WHERE id = ?")
            try statement.execute(arguments: [Data(id.bytes.bytes)])
        }
    }

    /// Waits until all is written, and closes the file.
    func close() async throws {
        try await self.database.write { database in
            let rest = self.state.withLockedValue { state in
                let rest = state.pending
                state.pending = []
                state.isClosed = true
                state.isBehind = true
                return rest
            }
            for change in rest { try Self.write(change, database) }
        }
        try self.database.close()
    }
}
