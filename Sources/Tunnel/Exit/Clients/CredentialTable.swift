//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// The credentials of the clients that an exit knows: those in its access list, those that were removed from it recently,
/// invites, and tickets. It finds the credential of an offer by its hint, without trying all of them.
struct CredentialTable {
    /// The credential of an offer.
    struct Match {
        /// Whose credential it is. Nil for an invite.
        let identity: PublicKey?
        let credential: Credential
        /// Whether another offer has used the ticket.
        var isUsed = false
    }

    private enum Owner: Hashable {
        case identity(PublicKey)
        case invite(Int)
    }

    /// How long a removed client still gets a refusal with a reason, in seconds.
    private static let revocationMemory: Int64 = 30 * 86_400
    /// Maximum number of removed clients.
    private static let maximumRevocations = 10_000
    /// Maximum number of periods with an index of hints: the window of dates can touch two, and the clock may step.
    private static let maximumPeriods = 3

    private let key: SecretKey
    private var listed: [PublicKey: Credential] = [:]
    private var invites: [Credential] = []
    /// Removed clients, with the time until which they are kept, in seconds since 1970.
    private var revoked: [PublicKey: (credential: Credential, until: Int64)] = [:]
    /// The owners by hint, for each period that was used.
    private var hints: [Int64: [UInt64: [Owner]]] = [:]
    private(set) var tickets: TicketTable

    /// - Parameters:
    ///   - key: The exit's long-term key.
    ///   - tickets: The tickets that were sent before.
    init(key: SecretKey, tickets: TicketTable = TicketTable()) {
        self.key = key
        self.tickets = tickets
    }

    /// Applies a new access list. Takes about 35 µs for each identity that was not in the previous one.
    ///
    /// - Parameter now: Seconds since 1970.
    /// - Returns: The tickets that became unusable, because their identities are not in the list.
    @discardableResult
    mutating func update(_ access: AuthorizedKeys, at now: Int64) -> [TicketTable.Ticket] {
        self.revoked = self.revoked.filter { $0.value.until > now && access.grants[$0.key] == nil }
        for (identity, credential) in self.listed where access.grants[identity] == nil {
            self.listed[identity] = nil
            if self.revoked.count >= Self.maximumRevocations,
                let oldest = self.revoked.min(by: { $0.value.until < $1.value.until })
            {
                self.revoked[oldest.key] = nil
            }
            self.revoked[identity] = (credential, now + Self.revocationMemory)
        }
        for identity in access.grants.keys where self.listed[identity] == nil {
            // A key that is not on the curve has no owner.
            self.listed[identity] = try? Credential(
                identity: self.key,
                peer: identity,
                exit: self.key.publicKey
            )
        }
        self.invites = access.invites.filter { $0.isValid(at: now) }.map { Credential(.invite, derived: $0.derived) }
        self.hints = [:]
        self.tickets.sweep(at: now)
        return self.tickets.revoke { access.grants[$0] != nil }
    }

    /// Returns the credential that has the hint of a proof and satisfies a condition. Several may have the same hint by
    /// chance.
    mutating func find(
        _ proof: OfferProof,
        at now: Int64,
        where isProven: (Credential) -> Bool
    ) -> Match? {
        switch Credential.Kind(rawValue: proof.kind) {
        case .ticket:
            guard let ticket = self.tickets.find(proof.hint, at: now) else { return nil }
            let credential = ticket.credential
            guard isProven(credential) else { return nil }
            return Match(identity: ticket.identity, credential: credential, isUsed: ticket.user != nil)
        case .identity, .invite: return self.findOwner(proof, where: isProven)
        case nil: return nil
        }
    }

    private mutating func findOwner(_ proof: OfferProof, where isProven: (Credential) -> Bool) -> Match? {
        let period = Credential.period(of: proof.date)
        if self.hints[period] == nil {
            if self.hints.count >= Self.maximumPeriods { self.hints = [:] }
            self.hints[period] = self.index(at: proof.date)
        }
        for owner in self.hints[period]?[proof.hint] ?? [] {
            switch owner {
            case .identity(let identity):
                guard let credential = self.listed[identity] ?? self.revoked[identity]?.credential,
                    isProven(credential)
                else { continue }
                return Match(identity: identity, credential: credential)
            case .invite(let index):
                guard isProven(self.invites[index]) else { continue }
                return Match(identity: nil, credential: self.invites[index])
            }
        }
        return nil
    }

    private func index(at date: Int64) -> [UInt64: [Owner]] {
        var index: [UInt64: [Owner]] = [:]
        index.reserveCapacity(self.listed.count + self.revoked.count + self.invites.count)
        for (identity, credential) in self.listed {
            index[credential.hint(at: date), default: []].append(.identity(identity))
        }
        for (identity, entry) in self.revoked {
            index[entry.credential.hint(at: date), default: []].append(.identity(identity))
        }
        for (number, credential) in self.invites.enumerated() {
            index[credential.hint(at: date), default: []].append(.invite(number))
        }
        return index
    }

    // MARK: Tickets

    /// Creates a ticket.
    ///
    /// - Parameter secret: Random bytes.
    mutating func issue(_ secret: Bytes32, to identity: PublicKey, at now: Int64) -> TicketTable.Ticket {
        let credential = Credential(ticket: secret, identity: identity, exit: self.key.publicKey)
        let ticket = TicketTable.Ticket(
            identity: identity,
            derived: credential.derived,
            expires: now + TicketTable.lifetime,
            user: nil
        )
        self.tickets.insert(ticket)
        return ticket
    }

    /// Records that an offer uses a ticket. Returns the ticket, or nil if another offer has used it.
    mutating func use(_ hint: UInt64, by offer: Bytes32, at now: Int64) -> TicketTable.Ticket? {
        self.tickets.use(hint, by: offer) ? self.tickets.find(hint, at: now) : nil
    }
}
