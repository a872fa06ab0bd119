//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto

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

/// The tickets of an exit in a file, so that clients can use them after a restart.
///
/// The file contains a header and records of 136 bytes: identity (32), derived keys (64), expiration (8, big-endian), and the hash of
/// the offer that used the ticket (32 zero bytes if unused). A later record of a ticket replaces an earlier one. Records
/// are not synced to disk. If the last ones are lost in a power failure, their clients use their identities instead.
final class TicketJournal {
    private static let recordLength = 136
    /// The header, which is as long as a record.
    private static let header: [UInt8] = {
        let text = Array("nws tickets 1\n".utf8)
        return text + Array(repeating: 0, count: recordLength - text.count)
    }()
    /// The file is written again when it has this many records more than twice the number of tickets.
    private static let slack = 1_024

    private let path: String?
    private var descriptor: Int32 = -1
    private var records = 0

    /// - Parameter path: The file; nil to write nothing.
    init(path: String?) { self.path = path }

    deinit {
        if self.descriptor >= 0 { close(self.descriptor) }
    }

    /// Reads the tickets that have not expired, and removes all other records. A damaged file is replaced.
    ///
    /// - Throws: ``DamagedStateFile``, or the system's error if the file cannot be read or written.
    func read(now: Int64) throws -> TicketTable {
        var table = TicketTable()
        guard let path else { return table }
        if FileManager.default.fileExists(atPath: path) {
            let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            guard data.starts(with: Self.header) else {
                try self.rewrite(table, now: now)
                throw DamagedStateFile(description: "\(path): did not contain tickets; it was replaced")
            }
            // Ignore a truncated last record.
            for start in stride(from: Self.recordLength, through: data.count - Self.recordLength, by: Self.recordLength)
            {
                if let ticket = Self.ticket(in: data, at: start), ticket.expires > now { table.insert(ticket) }
            }
        }
        try self.rewrite(table, now: now)
        return table
    }

    /// Appends a record. Errors are ignored: without the record, the ticket is not valid after a restart.
    func write(_ ticket: TicketTable.Ticket, of table: TicketTable, now: Int64) {
        guard self.path != nil else { return }
        guard StateFile.append(Self.record(ticket), to: self.descriptor) else {
            // Remove a partial record, because it would misalign the records after it.
            _ = ftruncate(self.descriptor, off_t((self.records + 1) * Self.recordLength))
            return
        }
        self.records += 1
        if self.records > 2 * table.count + Self.slack { try? self.rewrite(table, now: now) }
    }

    private static func record(_ ticket: TicketTable.Ticket) -> [UInt8] {
        ticket.identity.bytes.bytes + ticket.derived
            + (0..<8).map { UInt8(truncatingIfNeeded: ticket.expires >> Int64(56 - 8 * $0)) }
            + (ticket.user ?? .zero).bytes
    }

    private static func ticket(in data: [UInt8], at start: Int) -> TicketTable.Ticket? {
        guard let identity = Bytes32(data.span, at: start), let user = Bytes32(data.span, at: start + 104) else {
            return nil
        }
        let derived = Array(data[(start + 32)..<(start + 96)])
        let expires = data[(start + 96)..<(start + 104)].reduce(Int64(0)) { $0 << 8 | Int64($1) }
        return TicketTable.Ticket(
            identity: PublicKey(unchecked: identity),
            derived: derived,
            expires: expires,
            user: user == .zero ? nil : user
        )
    }

    private func rewrite(_ table: TicketTable, now: Int64) throws {
        guard let path else { return }
        let tickets = table.valid(at: now)
        let created = try StateFile.replace(path, with: Self.header + tickets.flatMap(Self.record))
        if self.descriptor >= 0 { close(self.descriptor) }
        self.descriptor = created
        self.records = tickets.count
    }
}
