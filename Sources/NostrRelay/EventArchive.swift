//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Dispatch
import Logging
import NIOConcurrencyHelpers
import NIOCore
import Nostr
import NostrCrypto

/// Saves the stored events of a relay in an SQLite file, so that they survive a restart.
///
/// Queries are answered from memory; the file is read only at start. Changes are written asynchronously, in order and
/// in batches. While writing fails or falls behind, the relay rejects events that it would have to store.
package final class EventArchive: Sendable {
    /// The file of an archive cannot be opened.
    package struct OpeningError: Error, CustomStringConvertible {
        /// An error message that names the file and the reason.
        package let description: String
    }

    private struct State {
        var pending: [EventStore.Change] = []
        var pendingBytes = 0
        var isWriting = false
        var isBehind = false
        /// Whether the last write failed. Repeated failures are logged once.
        var hasFailed = false
        var isClosed = false
    }

    /// Maximum number of changes that wait to be written. Beyond it the relay rejects events.
    static let maximumPending = 10_000
    /// Maximum size of the events in these changes, in bytes. Beyond it the relay rejects events, too.
    static let maximumPendingBytes = 64 << 20
    /// Time until a failed write is retried.
    private static let retryInterval: DispatchTimeInterval = .seconds(2)

    /// Milliseconds to wait for another process that has locked the file.
    private static let busyTimeout: CInt = 2_000
    /// Version of the database schema. It is stored in the `user_version` of the file.
    private static let schemaVersion = 1

    /// Serial queue on which batches are written.
    private let queue = DispatchQueue(label: "nws.event-archive")
    private let database: NIOLockedValueBox<SQLiteDatabase>
    private let logger: Logger
    private let state = NIOLockedValueBox(State())

    /// Opens the file, or creates it.
    ///
    /// - Throws: ``OpeningError`` if the file cannot be opened, is not an SQLite database, or is in use.
    init(path: String, logger: Logger) throws(OpeningError) {
        self.logger = logger
        do {
            let database = try SQLiteDatabase(path: path, busyTimeout: Self.busyTimeout)
            try Self.prepare(database)
            self.database = NIOLockedValueBox(database)
        } catch  where error.isBusy {
            throw OpeningError(description: "\(path): in use by another relay; stop it or choose another file")
        } catch {
            throw OpeningError(description: "\(path): \(error)")
        }
    }

    private static func prepare(_ database: SQLiteDatabase) throws(SQLiteDatabase.Failure) {
        // Two relays must not share a file, because neither would know the events that the other one writes.
        try database.execute("PRAGMA locking_mode = EXCLUSIVE")
        // A crash of the program loses no committed transaction. A crash of the machine may lose the most recent ones.
        try database.execute("PRAGMA synchronous = NORMAL")
        try database.execute("PRAGMA journal_mode = WAL")
        try database.transaction { () throws(SQLiteDatabase.Failure) in
            try database.execute(
                "CREATE TABLE IF NOT EXISTS event (id BLOB PRIMARY KEY NOT NULL, created_at INTEGER NOT NULL, json BLOB NOT NULL)"
            )
            try database.execute("PRAGMA user_version = \(Self.schemaVersion)")
        }
    }

    /// Reads all events in the order in which they arrived. Events that cannot be parsed or verified are logged and skipped.
    func load() throws -> [ReceivedEvent] {
        var events: [ReceivedEvent] = []
        try self.database.withLockedValue { database in
            try database.blobs("SELECT json FROM event ORDER BY rowid") { bytes in
                let json = ByteBuffer(bytes: bytes)
                guard let event = try? Event(json: json), (try? event.verify()) != nil else {
                    self.logger.warning("skipping a stored event that cannot be parsed or verified")
                    return
                }
                events.append(ReceivedEvent(event: event, json: json))
            }
        }
        return events
    }

    /// Whether the relay should reject events that it would have to store.
    ///
    /// True while too many changes wait to be written, after a failed write, and after ``close()``.
    var isBehind: Bool { self.state.withLockedValue { $0.isBehind } }

    private static func isTooMuch(_ state: State) -> Bool {
        state.pending.count > Self.maximumPending || state.pendingBytes > Self.maximumPendingBytes
    }

    private static func size(of changes: [EventStore.Change]) -> Int {
        changes.reduce(0) { sum, change in
            switch change {
            case .added(_, createdAt: _, let json): sum + json.readableBytes
            case .removed: sum
            }
        }
    }

    /// Queues changes to be written. They are written asynchronously and in order.
    func apply(_ changes: [EventStore.Change]) {
        guard !changes.isEmpty else { return }
        let mustWrite = self.state.withLockedValue { state in
            state.pending += changes
            state.pendingBytes += Self.size(of: changes)
            state.isBehind = state.isClosed || state.hasFailed || Self.isTooMuch(state)
            guard !state.isClosed, !state.isWriting else { return false }
            state.isWriting = true
            return true
        }
        if mustWrite { self.write() }
    }

    /// Writes the waiting changes in one transaction, and repeats until none are left.
    private func write() { self.queue.async { self.writePending() } }

    /// Runs on the queue. The changes are taken here, so that ``finish()`` writes those that were not taken before it.
    private func writePending() {
        let batch: [EventStore.Change]? = self.state.withLockedValue { state in
            guard !state.isClosed else { return nil }
            defer { state.pending = [] }
            return state.pending
        }
        guard let batch else { return }
        do {
            try self.write(batch)
        } catch {
            return self.failed(batch, error)
        }
        let (goesOn, hadFailed) = self.state.withLockedValue { state in
            let hadFailed = state.hasFailed
            state.hasFailed = false
            // Those of the batch were in memory until now.
            state.pendingBytes -= Self.size(of: batch)
            state.isBehind = Self.isTooMuch(state)
            state.isWriting = !state.pending.isEmpty
            return (state.isWriting, hadFailed)
        }
        if hadFailed { self.logger.notice("writing to the event store works again") }
        if goesOn { self.write() }
    }

    /// Writes all changes, or none.
    private func write(_ batch: [EventStore.Change]) throws {
        try self.database.withLockedValue { database in
            try database.transaction { () throws(SQLiteDatabase.Failure) in
                for change in batch { try Self.write(change, database) }
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
        self.queue.asyncAfter(deadline: .now() + Self.retryInterval) { self.write() }
    }

    private static func write(
        _ change: EventStore.Change,
        _ database: SQLiteDatabase
    ) throws(SQLiteDatabase.Failure) {
        switch change {
        case .added(let id, let createdAt, let json):
            try database.run(
                "INSERT OR REPLACE INTO event (id, created_at, json) VALUES (?, ?, ?)",
                [.blob(id.bytes.bytes), .integer(createdAt), .blob(Array(json.readableBytesView))]
            )
        case .removed(let id):
            try database.run("DELETE FROM event WHERE id = ?", [.blob(id.bytes.bytes)])
        }
    }

    /// Writes all waiting changes and closes the file.
    func close() async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            self.queue.async { continuation.resume(with: Result { try self.finish() }) }
        }
    }

    private func finish() throws {
        let rest = self.state.withLockedValue { state in
            let rest = state.pending
            state.pending = []
            state.isClosed = true
            state.isBehind = true
            return rest
        }
        defer { self.database.withLockedValue { $0.close() } }
        try self.write(rest)
    }
}
