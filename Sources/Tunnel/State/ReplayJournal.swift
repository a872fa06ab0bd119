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
/// The file contains a header and records of 40 bytes: the entry, followed by its expiration as a big-endian 64-bit
/// integer. A record is appended before the exit connects to the target. The write blocks the event loop for some
/// microseconds, which is less than the signature check before it. Appended records are not synced to disk: they survive
/// a crash of the process, but the last ones may be lost in a power failure.
///
/// While the file cannot be written, for example because its folder is read-only, no CONNECT is admitted. It is tried
/// again with every CONNECT, at most once in ``retryInterval``.
final class ReplayJournal {
    private static let recordLength = 40
    /// The header, which is as long as a record.
    private static let header: [UInt8] = {
        let text = Array("nws replay journal 1\n".utf8)
        return text + Array(repeating: 0, count: recordLength - text.count)
    }()
    /// Seconds after which a file that cannot be used is tried again.
    private static let retryInterval: Int64 = 5
    /// The file is written again when it has this many records more than twice the number of entries.
    private static let slack = 1_024

    private var table: ReplayTable
    private let path: String?
    private var descriptor: Int32 = -1
    private var records = 0
    private var lockDescriptor: Int32 = -1
    private var nextTry = Int64.min
    /// Why the file cannot be used. No CONNECT is admitted then.
    private(set) var failure: (any Error)?
    /// Whether the last CONNECT was not admitted because the table is full.
    var isFull: Bool { self.table.isFull }

    /// Locks and reads the file. If that is impossible for another reason than those below, ``failure`` says why.
    ///
    /// - Parameters:
    ///   - path: The file; nil to keep the records only in memory.
    ///   - table: The table for the records.
    ///   - now: The current time in seconds since 1970.
    /// - Throws: `EWOULDBLOCK` if another process uses the file, or ``DamagedStateFile``.
    init(path: String?, table: ReplayTable = ReplayTable(), now: Int64) throws {
        self.table = table
        self.path = path
        do {
            try self.open(now: now)
        } catch let error as DamagedStateFile {
            throw error
        } catch let error as IOError where error.errnoCode == EWOULDBLOCK {
            throw error
        } catch {
            self.failed(error, now: now)
        }
    }

    deinit {
        if self.descriptor >= 0 { close(self.descriptor) }
        if self.lockDescriptor >= 0 { close(self.lockDescriptor) }
    }

    private func open(now: Int64) throws {
        guard let path else { return }
        if self.lockDescriptor < 0 { self.lockDescriptor = try StateFile.lock(path, waits: false) }
        if FileManager.default.fileExists(atPath: path) {
            let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            guard data.starts(with: Self.header) else {
                throw DamagedStateFile(
                    description:
                        "\(path): not a replay journal. Wait 20 minutes, then remove the file; if you remove it sooner, relays can replay old requests to this exit"
                )
            }
            // Ignore a truncated last record: the exit did not connect for it.
            for start in stride(from: Self.recordLength, through: data.count - Self.recordLength, by: Self.recordLength)
            {
                guard let entry = Bytes32(data.span, at: start) else { break }
                let expiration = data[(start + 32)..<(start + 40)].reduce(Int64(0)) { $0 << 8 | Int64($1) }
                self.table.restore(entry, expiration: expiration, now: now)
            }
        }
        try self.rewrite()
        self.failure = nil
    }

    private func failed(_ error: any Error, now: Int64) {
        self.failure = error
        self.nextTry = now + Self.retryInterval
    }

    /// Records a CONNECT. Returns false if it was recorded before or cannot be recorded. The exit must not connect in
    /// that case.
    func admit(client: PublicKey, key: String, createdAt: Int64, now: Int64) -> Bool {
        guard self.canRecord(now: now) else { return false }
        let entry = ReplayTable.entry(client: client, key: key)
        let expiration = ReplayTable.expiration(createdAt: createdAt, now: now)
        guard self.table.insert(entry, expiration: expiration, now: now) else { return false }
        guard self.path != nil else { return true }
        guard StateFile.append(Self.record(entry, expiration), to: self.descriptor) else {
            self.failed(IOError(errnoCode: errno, reason: "write"), now: now)
            // Remove a partial record, because it would misalign the records after it.
            _ = ftruncate(self.descriptor, off_t((1 + self.records) * Self.recordLength))
            return false
        }
        self.records += 1
        // Write the file again occasionally. If this fails, the longer file is still valid.
        if self.records > 2 * self.table.count + Self.slack { try? self.rewrite() }
        return true
    }

    /// Whether the file can be written, after trying again if it is time.
    private func canRecord(now: Int64) -> Bool {
        guard self.failure != nil else { return true }
        guard self.nextTry <= now || self.nextTry > now + Self.retryInterval else { return false }
        do {
            if self.descriptor < 0 { try self.open(now: now) } else { try self.rewrite() }
            self.failure = nil
            return true
        } catch {
            self.failed(error, now: now)
            return false
        }
    }

    private static func record(_ entry: ReplayTable.Entry, _ expiration: Int64) -> [UInt8] {
        entry.bytes + (0..<8).map { UInt8(truncatingIfNeeded: expiration >> Int64(56 - 8 * $0)) }
    }

    /// Replaces the file with one that contains only the entries of the table.
    private func rewrite() throws {
        guard let path else { return }
        let entries = self.table.entries
        let records = entries.flatMap { Self.record($0.entry, $0.expiration) }
        let created = try StateFile.replace(path, with: Self.header + records)
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = created
        self.records = entries.count
    }
}
