//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite("Tickets")
struct TicketTests {
    private static let now: Int64 = 1_800_000_000
    private static let identity = SecretKey.generate().publicKey
    private static let exit = SecretKey.generate().publicKey

    private static func ticket(_ number: UInt8, of identity: PublicKey = Self.identity) -> TicketTable.Ticket {
        let credential = Credential(ticket: .sha256(of: [number]), identity: identity, exit: Self.exit)
        return TicketTable.Ticket(
            identity: identity,
            derived: credential.derived,
            expires: Self.now + Int64(number) + 1,
            user: nil
        )
    }

    private static func temporaryPath() -> String {
        FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path()
    }

    @Test("a ticket is good for one offer, which may be repeated, until it expires")
    func use() {
        var table = TicketTable()
        let ticket = Self.ticket(1)
        let hint = ticket.credential.ticketHint
        table.insert(ticket)
        #expect(table.find(hint, at: Self.now) == ticket)
        #expect(table.find(hint, at: ticket.expires) == nil)
        let isFirst = table.use(hint, by: .sha256(of: [1]))
        let isRepetition = table.use(hint, by: .sha256(of: [1]))
        let isSecond = table.use(hint, by: .sha256(of: [2]))
        #expect(isFirst && isRepetition && !isSecond)
        table.sweep(at: ticket.expires)
        #expect(table.count == 0)
    }

    @Test("each identity has a bounded number of tickets, and a revocation makes them unusable")
    func bounds() {
        var table = TicketTable()
        let other = SecretKey.generate().publicKey
        table.insert(Self.ticket(200, of: other))
        for number in UInt8(0)..<30 { table.insert(Self.ticket(number)) }
        #expect(table.count == TicketTable.maximumPerIdentity + 1)
        #expect(table.find(Self.ticket(13).credential.ticketHint, at: Self.now) == nil)
        let revoked = table.revoke { $0 == other }
        #expect(revoked.count == TicketTable.maximumPerIdentity)
        let isUsable = table.use(Self.ticket(29).credential.ticketHint, by: .sha256(of: [1]))
        let isOtherUsable = table.use(Self.ticket(200, of: other).credential.ticketHint, by: .sha256(of: [1]))
        #expect(!isUsable && isOtherUsable)
    }

    @Test("an exit keeps its tickets, and their use, across a restart")
    func journal() throws {
        let path = Self.temporaryPath()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let (first, second) = (Self.ticket(1), Self.ticket(2))
        var table = try TicketJournal(path: path).read(now: Self.now)
        do {
            let journal = TicketJournal(path: path)
            table = try journal.read(now: Self.now)
            for ticket in [first, second] {
                table.insert(ticket)
                journal.write(ticket, of: table, now: Self.now)
            }
            _ = table.use(first.credential.ticketHint, by: .sha256(of: [9]))
            let used = try #require(table.find(first.credential.ticketHint, at: Self.now))
            journal.write(used, of: table, now: Self.now)
        }
        var again = try TicketJournal(path: path).read(now: Self.now)
        #expect(again.count == 2)
        let isReused = again.use(first.credential.ticketHint, by: .sha256(of: [8]))
        let isUsed = again.use(second.credential.ticketHint, by: .sha256(of: [8]))
        #expect(!isReused && isUsed)
        // An incomplete last record is ignored.
        let data = try Data(contentsOf: URL(fileURLWithPath: path))
        try data.dropLast(10).write(to: URL(fileURLWithPath: path))
        #expect(try TicketJournal(path: path).read(now: Self.now).count == 1)
    }

    @Test("a file that contains no tickets is replaced")
    func damagedJournal() throws {
        let path = Self.temporaryPath()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data(repeating: 7, count: 1_000).write(to: URL(fileURLWithPath: path))
        let journal = TicketJournal(path: path)
        #expect(throws: DamagedStateFile.self) { try journal.read(now: Self.now) }
        var table = TicketTable()
        table.insert(Self.ticket(1))
        journal.write(Self.ticket(1), of: table, now: Self.now)
        #expect(try TicketJournal(path: path).read(now: Self.now).count == 1)
    }

    @Test("a client uses each stored ticket once, for the identity to which it was sent", arguments: [true, false])
    func store(isInMemory: Bool) throws {
        let path = Self.temporaryPath()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let stores = (0..<2).map { _ in TicketStore(folder: isInMemory ? nil : path) }
        func insert(_ number: UInt8, _ store: TicketStore) {
            let expires = Self.now + Int64(number)
            let ticket = TicketStore.Ticket(secret: .sha256(of: [number]), identity: Self.identity, expires: expires)
            store.insert(ticket, for: Self.exit, at: Self.now)
        }
        func take(_ store: TicketStore, at now: Int64 = Self.now) -> Int64? {
            store.take(for: Self.exit, identity: Self.identity, at: now).map { $0.expires - Self.now }
        }
        for number in UInt8(1)...10 { insert(number, stores[0]) }
        #expect(stores[0].take(for: Self.exit, identity: SecretKey.generate().publicKey, at: Self.now) == nil)
        #expect(stores[0].peek(for: Self.exit, identity: Self.identity, at: Self.now)?.expires == Self.now + 10)
        // The second process shares the files of the first one.
        #expect(take(stores[isInMemory ? 0 : 1]) == 10)
        #expect(take(stores[0]) == 9)
        #expect(take(stores[0], at: Self.now + 8) == nil)
        #expect(stores[0].take(for: Self.identity, identity: Self.identity, at: Self.now) == nil)
        if !isInMemory {
            let folder = "\(path)/\(Self.exit.hex)"
            insert(11, stores[0])
            let attributes = try FileManager.default.attributesOfItem(atPath: folder)
            #expect(attributes[.posixPermissions] as? Int == 0o700)
        }
    }
}
