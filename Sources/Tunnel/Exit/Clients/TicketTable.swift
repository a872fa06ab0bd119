//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// The tickets that an exit has sent to its clients. Each is good for one session. It performs no I/O.
struct TicketTable {
    /// A ticket that was sent.
    struct Ticket: Hashable {
        let identity: PublicKey
        /// ``Credential/derived``.
        let derived: [UInt8]
        /// Seconds since 1970.
        let expires: Int64
        /// The offer that used the ticket. Nil if it is unused.
        var user: Bytes32?

        var credential: Credential { Credential(.ticket, derived: self.derived) }
    }

    /// How long a ticket is valid, in seconds.
    static let lifetime: Int64 = 7 * 86_400
    /// Maximum number of tickets of one identity, used or not. The oldest makes room.
    static let maximumPerIdentity = 16

    private var tickets: [UInt64: Ticket] = [:]
    /// The hints of an identity's tickets, oldest first.
    private var hints: [PublicKey: [UInt64]] = [:]

    var count: Int { self.tickets.count }

    /// All tickets that have not expired, the oldest of each identity first.
    func valid(at now: Int64) -> [Ticket] {
        self.hints.values.flatMap { $0.compactMap { self.tickets[$0] } }.filter { $0.expires > now }
    }

    /// Returns the ticket with a hint. Nil if there is none or it has expired.
    func find(_ hint: UInt64, at now: Int64) -> Ticket? { self.tickets[hint].flatMap { $0.expires > now ? $0 : nil } }

    /// Adds a ticket. Replaces one with the same hint, which happens by chance only.
    mutating func insert(_ ticket: Ticket) {
        let hint = ticket.credential.ticketHint
        self.remove(hint)
        self.tickets[hint] = ticket
        self.hints[ticket.identity, default: []].append(hint)
        if let known = self.hints[ticket.identity], known.count > Self.maximumPerIdentity { self.remove(known[0]) }
    }

    /// Records that an offer uses a ticket. Returns false if another offer has used it.
    mutating func use(_ hint: UInt64, by offer: Bytes32) -> Bool {
        guard let user = self.tickets[hint]?.user else {
            self.tickets[hint]?.user = offer
            return true
        }
        return user == offer
    }

    /// Stands for the user of a ticket that was revoked.
    private static let revoked = Bytes32.sha256(of: Array("revoked".utf8))

    /// Makes the unused tickets of all identities unusable that do not satisfy a condition. Returns these tickets.
    mutating func revoke(unless isListed: (PublicKey) -> Bool) -> [Ticket] {
        var revoked: [Ticket] = []
        for (hint, ticket) in self.tickets where ticket.user == nil && !isListed(ticket.identity) {
            self.tickets[hint]?.user = Self.revoked
            if let ticket = self.tickets[hint] { revoked.append(ticket) }
        }
        return revoked
    }

    /// Removes tickets that have expired.
    mutating func sweep(at now: Int64) {
        for (hint, ticket) in self.tickets where ticket.expires <= now { self.remove(hint) }
    }

    private mutating func remove(_ hint: UInt64) {
        guard let identity = self.tickets.removeValue(forKey: hint)?.identity else { return }
        self.hints[identity]?.removeAll { $0 == hint }
        if self.hints[identity]?.isEmpty == true { self.hints[identity] = nil }
    }
}
