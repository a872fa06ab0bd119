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

/// The CONNECTs that were dialled, in memory and in a file, so that a restart forgets none.
///
/// The file holds records of 40 bytes: the entry, then its expiration as eight bytes, big-endian. A record is appended
/// before the target is dialled; a write of 40 bytes to the page cache takes some microseconds, less than the signature
/// check before it, so it is done in place. It outlives the process; the last seconds before a power cut may be missing.
final class ReplayJournal {
    private static let recordLength = 40

    private var table: ReplayTable
    private let path: String?
    private var descriptor: Int32 = -1
    private var records = 0
    private var lockDescriptor: Int32 = -1
    /// The last record could not be written, so nothing was dialled.
    private(set) var hasFailed = false
    /// No more can be remembered at present.
    var isFull: Bool { self.table.isFull }

    /// - Parameter path: The file; nil to remember in memory only.
    /// - Throws: If the file cannot be read or written.
    init(path: String?, table: ReplayTable = ReplayTable(), now: Int64) throws {
        self.table = table
        self.path = path
        guard let path else { return }
        self.lockDescriptor = try StateFile.lock(path, waits: false)
        if FileManager.default.fileExists(atPath: path) {
            let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            // A record that was cut short by a crash was never dialled.
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

    /// Enters a CONNECT. False if it was dialled before, or cannot be remembered; then it must not be dialled.
    func admit(client: PublicKey, key: String, createdAt: Int64, now: Int64) -> Bool {
        let entry = ReplayTable.entry(client: client, key: key)
        let expiration = ReplayTable.expiration(createdAt: createdAt, now: now)
        guard self.table.insert(entry, expiration: expiration, now: now) else { return false }
        guard self.path != nil else { return true }
        guard StateFile.append(Self.record(entry, expiration), to: self.descriptor) else {
            // Half a record would put those behind it out of step.
            _ = ftruncate(self.descriptor, off_t(self.records * Self.recordLength))
            self.hasFailed = true
            return false
        }
        self.hasFailed = false
        self.records += 1
        // What has expired is left out now and then. If that fails, the longer file still serves.
        if self.records > 2 * self.table.count + 1_024 { try? self.rewrite(now: now) }
        return true
    }

    private static func record(_ entry: ReplayTable.Entry, _ expiration: Int64) -> [UInt8] {
        entry.bytes + (0..<8).map { UInt8(truncatingIfNeeded: expiration >> Int64(56 - 8 * $0)) }
    }

    /// Replaces the file by one with what still matters.
    private func rewrite(now: Int64) throws {
        guard let path else { return }
        let entries = self.table.entries(now: now)
        let created = try StateFile.replace(path, with: entries.flatMap { Self.record($0.entry, $0.expiration) })
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = created
        self.records = entries.count
    }
}
