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

/// The tickets that exits sent to this client, each in a file of its own, so that several processes can share them. Whoever
/// removes a file may use its ticket.
///
/// A file contains the ticket (32 bytes) and the public key of the identity to which it was sent (32 bytes). Its name
/// consists of the expiration and a random part.
final class TicketStore {
    /// A ticket with the identity to which the exit sent it.
    struct Ticket: Hashable {
        let secret: Bytes32
        let identity: PublicKey
        /// Seconds since 1970.
        let expires: Int64
    }

    /// Maximum number of tickets for one exit. The oldest makes room.
    static let maximumPerExit = 4
    /// Maximum number of exits whose tickets are kept in memory.
    static let maximumExits = 256

    private let folder: String?
    /// Used without a folder.
    private var memory: [PublicKey: [Ticket]] = [:]

    /// - Parameter folder: The folder; nil to keep the tickets only in memory.
    init(folder: String?) { self.folder = folder }

    /// Stores a ticket. Errors are ignored: without a ticket, the client uses its identity.
    func insert(_ ticket: Ticket, for exit: PublicKey, at now: Int64) {
        guard let folder else {
            if self.memory[exit] == nil, self.memory.count >= Self.maximumExits { self.memory = [:] }
            self.memory[exit] = (self.memory[exit] ?? []).filter { $0.expires > now }.suffix(Self.maximumPerExit - 1)
            self.memory[exit]?.append(ticket)
            return
        }
        let exitFolder = "\(folder)/\(exit.hex)"
        try? FileManager.default.createDirectory(
            atPath: exitFolder,
            withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700]
        )
        let names = self.names(in: exitFolder)
        for name in names.dropLast(Self.maximumPerExit - 1) { _ = unsafe unlink("\(exitFolder)/\(name)") }
        // Names sort by expiration.
        let digits = String(ticket.expires)
        let padded = String(repeating: "0", count: max(0, 12 - digits.count)) + digits
        let name = "\(padded)-\(Hex.encode(Bytes32.random().bytes.prefix(8)))"
        try? StateFile.saveWithoutSync(
            ticket.secret.bytes + ticket.identity.bytes.bytes,
            to: "\(exitFolder)/\(name)"
        )
    }

    /// Removes and returns the newest ticket that an exit sent to an identity.
    func take(for exit: PublicKey, identity: PublicKey, at now: Int64) -> Ticket? {
        self.newest(for: exit, identity: identity, at: now, removing: true)
    }

    /// Returns the newest ticket that an exit sent to an identity, and keeps it.
    func peek(for exit: PublicKey, identity: PublicKey, at now: Int64) -> Ticket? {
        self.newest(for: exit, identity: identity, at: now, removing: false)
    }

    private func newest(
        for exit: PublicKey,
        identity: PublicKey,
        at now: Int64,
        removing: Bool
    ) -> Ticket? {
        guard let folder else {
            let tickets = self.memory[exit] ?? []
            guard let index = tickets.lastIndex(where: { $0.identity == identity && $0.expires > now }) else {
                return nil
            }
            if removing { self.memory[exit]?.remove(at: index) }
            return tickets[index]
        }
        let exitFolder = "\(folder)/\(exit.hex)"
        for name in self.names(in: exitFolder).reversed() {
            let path = "\(exitFolder)/\(name)"
            guard let expires = Int64(name.prefix { $0 != "-" }), expires > now else {
                _ = unsafe unlink(path)
                continue
            }
            guard let data = try? Data(contentsOf: URL(fileURLWithPath: path)), data.count == 2 * Bytes32.count,
                let secret = Bytes32(Array(data.prefix(Bytes32.count))),
                let owner = Bytes32(Array(data.suffix(Bytes32.count))), owner == identity.bytes
            else { continue }
            // If another process has removed the file, it uses the ticket.
            if removing {
                guard unsafe unlink(path) == 0 else { continue }
            }
            return Ticket(secret: secret, identity: identity, expires: expires)
        }
        return nil
    }

    /// The names of the ticket files in a folder, in the order of their expiration.
    private func names(in folder: String) -> [String] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return all.filter { $0.first?.isNumber == true && !$0.hasSuffix(".new") }.sorted()
    }
}
