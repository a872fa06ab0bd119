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

/// Saves the stored events of a relay in an SQLite file, so that they survive a restart.
///
/// Queries are answered from memory; the file is read only at start. Changes are written asynchronously, in order and
/// in batches. While writing fails or falls behind, the relay rejects events that it would have to store.
public final class EventArchive: Sendable {
    /// The file of an archive cannot be opened.
    public struct OpeningError: Error, CustomStringConvertible {
        /// An error message that names the file and the reason.
        public let description: String
    }

    private struct State {
        var pending: [EventStore.Change] = []
        var isWriting = false
        var isBehind = false
        /// Whether the last write failed. Repeated failures are logged once.
        var hasFailed = false
        var isClosed = false
    }

    /// Maximum number of changes that wait to be written. Beyond it the relay rejects events.
    static let maximumPending = 10_000
    /// Time until a failed write is retried.
    private static let retryInterval: Duration = .seconds(2)

    private let database: DatabaseQueue
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    /// Opens the file, or creates it.
    ///
    /// - Throws: ``OpeningError`` if the file cannot be opened, is not an SQLite database, or is in use.
    init(path: String, logger: Logger) throws(OpeningError) {
        var configuration = Configuration()
        configuration.label = "nws-relay"
        // If another process has locked the file, wait up to 2 s and then fail.
        configuration.busyMode = .timeout(2)
        configuration.prepareDatabase { database in
            // Two relays must not share a file: each would not know the events that the other one writes.
            try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
            // A crash of the program loses no committed transaction. A crash of the machine may lose the most recent
            // ones.
            try database.execute(sql: "PRAGMA synchronous = NORMAL")
        }
        self.logger = logger
        do {
            self.database = try DatabaseQueue(path: path, configuration: configuration)
            try Self.prepare(self.database)
        } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY {
            throw OpeningError(description: "\(path): in use by another relay; stop it or choose another file")
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

    /// Reads all events, oldest first. Events that cannot be parsed or verified are logged and skipped.
    func load() throws -> [ReceivedEvent] {
        try self.database.read { database in
            var events: [ReceivedEvent] = []
            let rows = try Row.fetchCursor(database, sql: "SELECT json FROM event ORDER BY created_at, id")
            while let row = try rows.next() {
                let json = try row.withUnsafeData(atIndex: 0) { data in data.map { ByteBuffer(bytes: $0) } }
                guard let json, let event = try? Event(json: json), (try? event.verify()) != nil else {
                    self.logger.warning("skipping a stored event that cannot be parsed or verified")
                    continue
                }
                events.append(ReceivedEvent(event: event, json: json))
            }
            return events
        }
    }

    /// Whether the relay should reject events that it would have to store.
    ///
    /// True while too many changes wait to be written, after a failed write, and after ``close()``.
    var isBehind: Bool { self.state.withLockedValue { $0.isBehind } }

    /// Queues changes to be written. They are written asynchronously and in order.
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

    /// Writes the waiting changes in one transaction, and repeats until none are left.
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
                if hadFailed { self.logger.notice("writing to the event store works again") }
                if goesOn { self.write() }
            case .failure(let error):
                self.failed(batch, error)
            }
        }
    }

    private func failed(_ batch: [EventStore.Change], _ error: any Error) {
        let isNew = self.state.withLockedValue { state in
            // The transaction was rolled back, so the whole batch is written again.
            state.pending = batch + state.pending
            state.isBehind = true
            defer { state.hasFailed = true }
            return !state.hasFailed
        }
        if isNew {
            self.logger.error(
                "cannot write to the event store; rejecting new events, except ephemeral ones, until it works again",
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

    /// Writes all waiting changes and closes the file.
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
