//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CSQLite

/// A connection to an SQLite file. It may be used on any thread, but only on one at a time. The owner must protect it
/// with a lock.
@safe
final class SQLiteDatabase: @unchecked Sendable {
    /// An error that SQLite reported.
    struct Failure: Error, CustomStringConvertible {
        /// The primary result code.
        let code: CInt
        let description: String

        /// Whether another process has locked the file.
        var isBusy: Bool { self.code == SQLITE_BUSY }
    }

    /// The value of a parameter of a statement.
    enum Value {
        case integer(Int64)
        case blob([UInt8])
    }

    private var handle: OpaquePointer?
    private var statements: [String: OpaquePointer] = unsafe [:]

    /// Opens the file, or creates it.
    ///
    /// - Parameter busyTimeout: Milliseconds to wait for another process that has locked the file.
    init(path: String, busyTimeout: CInt) throws(Failure) {
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        var handle: OpaquePointer?
        let code = unsafe sqlite3_open_v2(path, &handle, flags, nil)
        unsafe self.handle = handle
        guard code == SQLITE_OK else {
            let failure = self.failure(code)
            unsafe sqlite3_close_v2(self.handle)
            unsafe self.handle = nil
            throw failure
        }
        unsafe sqlite3_busy_timeout(self.handle, busyTimeout)
    }

    deinit { self.close() }

    /// Closes the file. Later statements fail.
    func close() {
        while let (_, statement) = unsafe self.statements.popFirst() { unsafe sqlite3_finalize(statement) }
        unsafe sqlite3_close_v2(self.handle)
        unsafe self.handle = nil
    }

    private func failure(_ code: CInt) -> Failure {
        let message = unsafe self.handle.flatMap { unsafe sqlite3_errmsg($0) }.map { unsafe String(cString: $0) }
        return unsafe Failure(code: code & 0xff, description: message ?? String(cString: sqlite3_errstr(code)))
    }

    private func check(_ code: CInt) throws(Failure) {
        guard code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW else { throw self.failure(code) }
    }

    /// Runs a statement without parameters. Rows that it returns are ignored.
    func execute(_ sql: String) throws(Failure) {
        try unsafe self.check(sqlite3_exec(self.handle, sql, nil, nil, nil))
    }

    /// Runs a statement. It is prepared on its first use and then kept.
    ///
    /// - Parameter values: The values of the parameters, in order.
    func run(_ sql: String, _ values: [Value] = []) throws(Failure) {
        let statement = try unsafe self.prepared(sql)
        defer { unsafe sqlite3_reset(statement) }
        for (index, value) in values.enumerated() {
            switch value {
            case .integer(let number):
                try unsafe self.check(sqlite3_bind_int64(statement, CInt(index + 1), number))
            case .blob(let bytes):
                // SQLITE_TRANSIENT: SQLite copies the bytes.
                let transient = unsafe unsafeBitCast(-1, to: sqlite3_destructor_type.self)
                let code = unsafe sqlite3_bind_blob64(
                    statement,
                    CInt(index + 1),
                    bytes,
                    UInt64(bytes.count),
                    transient
                )
                try self.check(code)
            }
        }
        var code = unsafe sqlite3_step(statement)
        while code == SQLITE_ROW { code = unsafe sqlite3_step(statement) }
        try self.check(code)
    }

    /// Runs a query, and calls `body` with the first column of each row, as bytes.
    func blobs(_ sql: String, _ body: ([UInt8]) -> Void) throws(Failure) {
        let statement = try unsafe self.prepared(sql)
        defer { unsafe sqlite3_reset(statement) }
        var code = unsafe sqlite3_step(statement)
        while code == SQLITE_ROW {
            let count = unsafe Int(sqlite3_column_bytes(statement, 0))
            let bytes = unsafe UnsafeRawBufferPointer(start: sqlite3_column_blob(statement, 0), count: count)
            unsafe body(Array(bytes))
            code = unsafe sqlite3_step(statement)
        }
        try self.check(code)
    }

    /// Runs `body` in a transaction: either all of its statements take effect, or none.
    func transaction(_ body: () throws(Failure) -> Void) throws(Failure) {
        try self.execute("BEGIN IMMEDIATE")
        do {
            try body()
            try self.execute("COMMIT")
        } catch {
            // After some errors SQLite has already rolled back the transaction, and then ROLLBACK fails.
            try? self.execute("ROLLBACK")
            throw error
        }
    }

    private func prepared(_ sql: String) throws(Failure) -> OpaquePointer? {
        if let statement = unsafe self.statements[sql] { return unsafe statement }
        var statement: OpaquePointer?
        let code = unsafe sqlite3_prepare_v3(self.handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        try self.check(code)
        unsafe self.statements[sql] = statement
        return unsafe statement
    }
}
