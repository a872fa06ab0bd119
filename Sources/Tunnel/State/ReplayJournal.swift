//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The CONNECTs that the exit has served, in memory and in a file, so that they cannot be replayed after a restart.
///
/// The file contains records of 40 bytes: the entry, followed by its expiration as a big-endian 64-bit integer. A
/// record is appended before the exit connects to the target. The write blocks the event loop for some microseconds,
/// which is less than the signature check before it. Appended records are not synced to disk: they survive a crash of
/// the process, but the last ones may be lost in a power failure.
final class ReplayJournal {
    private static let recordLength = 40

    private var table: ReplayTable
    private let path: String?
    private var descriptor: Int32 = -1
    private var records = 0
    private var lockDescriptor: Int32 = -1
    /// Whether the last record could not be written. The exit did not connect in that case.
    private(set) var hasFailed = false
    /// Whether the table is full.
    var isFull: Bool { self.table.isFull }

    /// Locks the file, reads its records and removes expired ones.
    ///
    /// - Parameters:
    ///   - path: The file; nil to keep the records only in memory.
    ///   - table: The table for the records.
    ///   - now: The current time in seconds since 1970.
    /// - Throws: The system's error if the file cannot be locked, read or written. It is `EWOULDBLOCK` if another
    ///   process uses the file.
    init(path: String?, table: ReplayTable = ReplayTable(), now: Int64) throws {
        self.table = table
        self.path = path
        guard let path else { return }
        self.lockDescriptor = try StateFile.lock(path, waits: false)
        if FileManager.default.fileExists(atPath: path) {
            let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            // Ignore a truncated last record: the exit did not connect for it.
            for start in stride(from: 0, to: data.count - Self.recordLength + 1, by: Self.recordLength) {
                guard let entry = Bytes32(data.span, at: start) else { break }
                let expiration = data[(start + 32)..<(start + 40)].reduce(Int64(0)) { $0 << 8 | Int64($1) }
                if expiration > now { _ = self.table.insert(entry, expiration: expiration, now: now) }
            }
        }
        try self.rewrite(now: now)
    }

    deinit {
        if self.descriptor >= 0 { close(self.descriptor) }
        if self.lockDescriptor >= 0 { close(self.lockDescriptor) }
    }

    /// Records a CONNECT. Returns false if it was recorded before or cannot be recorded. The exit must not connect in
    /// that case.
    func admit(client: PublicKey, key: String, createdAt: Int64, now: Int64) -> Bool {
        let entry = ReplayTable.entry(client: client, key: key)
        let expiration = ReplayTable.expiration(createdAt: createdAt, now: now)
        guard self.table.insert(entry, expiration: expiration, now: now) else { return false }
        guard self.path != nil else { return true }
        guard StateFile.append(Self.record(entry, expiration), to: self.descriptor) else {
            // Remove a partial record, because it would misalign the records after it.
            _ = ftruncate(self.descriptor, off_t(self.records * Self.recordLength))
            self.hasFailed = true
            return false
        }
        self.hasFailed = false
        self.records += 1
        // Remove expired records occasionally. If this fails, the longer file is still valid.
        if self.records > 2 * self.table.count + 1_024 { try? self.rewrite(now: now) }
        return true
    }

    private static func record(_ entry: ReplayTable.Entry, _ expiration: Int64) -> [UInt8] {
        entry.bytes + (0..<8).map { UInt8(truncatingIfNeeded: expiration >> Int64(56 - 8 * $0)) }
    }

    /// Replaces the file with one that contains only the entries that have not expired.
    private func rewrite(now: Int64) throws {
        guard let path else { return }
        let entries = self.table.entries(now: now)
        let created = try StateFile.replace(path, with: entries.flatMap { Self.record($0.entry, $0.expiration) })
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = created
        self.records = entries.count
    }
}
