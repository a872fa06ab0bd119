//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import TestSupport
import Testing

@testable import NostrRelay

@Suite("An SQLite file")
struct SQLiteDatabaseTests {
    private static func blobs(_ database: SQLiteDatabase) throws -> [[UInt8]] {
        var blobs: [[UInt8]] = []
        try database.blobs("SELECT value FROM item ORDER BY number") { blobs.append($0) }
        return blobs
    }

    private static func fill(_ database: SQLiteDatabase, _ values: [[UInt8]]) throws {
        for (number, value) in values.enumerated() {
            try database.run(
                "INSERT INTO item (number, value) VALUES (?, ?)",
                [.integer(Int64(number)), .blob(value)]
            )
        }
    }

    private static func withFile(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try body(folder.appending(path: "file.db").path())
    }

    @Test("values are read as they were written, also after the file was closed")
    func roundTrip() throws {
        try Self.withFile { path in
            let values: [[UInt8]] = [[], [0, 255, 39], Array(repeating: 7, count: 100_000)]
            let database = try SQLiteDatabase(path: path, busyTimeout: 0)
            try database.execute("CREATE TABLE item (number INTEGER PRIMARY KEY, value BLOB NOT NULL)")
            try Self.fill(database, values)
            #expect(try Self.blobs(database) == values)
            database.close()
            #expect(throws: SQLiteDatabase.Failure.self) { try database.execute("SELECT 1") }
            #expect(try Self.blobs(SQLiteDatabase(path: path, busyTimeout: 0)) == values)
        }
    }

    @Test("a transaction that fails changes nothing")
    func rollback() throws {
        try Self.withFile { path in
            let database = try SQLiteDatabase(path: path, busyTimeout: 0)
            try database.execute("CREATE TABLE item (number INTEGER PRIMARY KEY, value BLOB NOT NULL)")
            #expect(throws: SQLiteDatabase.Failure.self) {
                try database.transaction { () throws(SQLiteDatabase.Failure) in
                    try database.run("INSERT INTO item VALUES (1, ?)", [.blob([1])])
                    try database.run("INSERT INTO item VALUES (1, ?)", [.blob([2])])
                }
            }
            #expect(try Self.blobs(database).isEmpty)
            try Self.fill(database, [[3]])
            #expect(try Self.blobs(database) == [[3]])
        }
    }

    @Test("a file that another connection has locked is busy, and one that is no database is named so")
    func failures() throws {
        try Self.withFile { path in
            let first = try SQLiteDatabase(path: path, busyTimeout: 0)
            try first.execute("PRAGMA locking_mode = EXCLUSIVE")
            try first.execute("CREATE TABLE item (number INTEGER)")
            let second = try SQLiteDatabase(path: path, busyTimeout: 0)
            let failure = #expect(throws: SQLiteDatabase.Failure.self) { try second.execute("SELECT * FROM item") }
            #expect(failure?.isBusy == true)
            let text = path + ".txt"
            try Data(repeating: 65, count: 1_000).write(to: URL(filePath: text))
            let other = try SQLiteDatabase(path: text, busyTimeout: 0)
            let error = #expect(throws: SQLiteDatabase.Failure.self) { try other.execute("SELECT * FROM item") }
            #expect(error?.description == "file is not a database")
        }
    }
}
