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
        /// Describes the client in the access list; empty if that is not known.
        var comment = ""
        /// Why an invite is no longer valid. Nil if it is valid.
        var refusal: StreamEnd?
        /// Whether another offer has used the ticket.
        var isUsed = false
    }

    private enum Owner: Hashable {
        case identity(PublicKey)
        /// The derived keys of the invite.
        case invite([UInt8])
    }

    private struct Invite {
        let credential: Credential
        let comment: String
        /// Seconds since 1970; nil for never.
        var expires: Int64?
        /// Whether the list contains it. If not, it is kept until the time in seconds since 1970.
        var revokedUntil: Int64?
    }

    /// How long a removed client still gets a refusal with a reason, in seconds.
    private static let revocationMemory: Int64 = 30 * 86_400
    /// Maximum number of removed clients.
    static let maximumRevocations = 10_000
    /// Maximum number of removed invites.
    private static let maximumRevokedInvites = 1_000
    /// Maximum number of periods with an index of hints: the dates of offers that are refused with an explanation can touch
    /// six, and the clock may step.
    private static let maximumPeriods = 8

    private let key: SecretKey
    private struct Listed {
        let credential: Credential
        var comment: String
    }

    private struct Revoked {
        let credential: Credential
        let comment: String
        /// Seconds since 1970.
        let until: Int64
    }

    private var listed: [PublicKey: Listed] = [:]
    private var invites: [[UInt8]: Invite] = [:]
    /// Removed clients, with the time until which they are kept, in seconds since 1970.
    private var revoked: [PublicKey: Revoked] = [:]
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

    /// Adds clients that were removed before the exit started, with the time until which they are kept, in seconds since 1970.
    /// Takes about 35 µs for each.
    mutating func restore(revoked: [PublicKey: Int64], at now: Int64) {
        for (identity, until) in revoked where until > now && self.revoked.count < Self.maximumRevocations {
            guard let credential = self.credential(of: identity) else { continue }
            self.revoked[identity] = Revoked(
                credential: credential,
                comment: "",
                until: min(until, now + Self.revocationMemory)
            )
        }
    }

    /// The removed clients, with the time until which they are kept.
    var revokedClients: [PublicKey: Int64] { self.revoked.mapValues(\.until) }

    /// The credential of an identity. Nil for a key that is not on the curve, which has no owner.
    private func credential(of identity: PublicKey) -> Credential? {
        try? Credential(identity: self.key, peer: identity, exit: self.key.publicKey)
    }

    /// Applies a new access list. Takes about 35 µs for each identity that was not in the previous one.
    ///
    /// - Parameter now: Seconds since 1970.
    /// - Returns: The tickets that became unusable, because their identities are not in the list.
    @discardableResult
    mutating func update(_ access: AuthorizedKeys, at now: Int64) -> [TicketTable.Ticket] {
        self.revoked = self.revoked.filter { $0.value.until > now && access.grants[$0.key] == nil }
        for (identity, client) in self.listed where access.grants[identity] == nil {
            self.listed[identity] = nil
            if self.revoked.count >= Self.maximumRevocations,
                let oldest = self.revoked.min(by: { $0.value.until < $1.value.until })
            {
                self.revoked[oldest.key] = nil
            }
            self.revoked[identity] = Revoked(
                credential: client.credential,
                comment: client.comment,
                until: now + Self.revocationMemory
            )
        }
        for (identity, grant) in access.grants {
            if self.listed[identity] != nil {
                self.listed[identity]?.comment = grant.comment
            } else if let credential = self.credential(of: identity) {
                self.listed[identity] = Listed(credential: credential, comment: grant.comment)
            }
        }
        self.updateInvites(access.invites, at: now)
        self.hints = [:]
        self.tickets.sweep(at: now)
        return self.tickets.revoke { access.grants[$0] != nil }
    }

    private mutating func updateInvites(_ listed: [AuthorizedKeys.Invite], at now: Int64) {
        for (derived, invite) in self.invites where invite.revokedUntil == nil {
            self.invites[derived]?.revokedUntil = now + Self.revocationMemory
        }
        for invite in listed {
            let credential = Credential(.invite, derived: invite.derived)
            self.invites[invite.derived] = Invite(
                credential: credential,
                comment: invite.comment,
                expires: invite.expires
            )
        }
        self.invites = self.invites.filter { $0.value.revokedUntil.map { $0 > now } ?? true }
        let revoked = self.invites.filter { $0.value.revokedUntil != nil }
        guard revoked.count > Self.maximumRevokedInvites else { return }
        let oldest = revoked.sorted { $0.value.revokedUntil ?? 0 < $1.value.revokedUntil ?? 0 }
        for (derived, _) in oldest.prefix(revoked.count - Self.maximumRevokedInvites) { self.invites[derived] = nil }
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
            return Match(
                identity: ticket.identity,
                credential: credential,
                comment: self.comment(of: ticket.identity),
                isUsed: ticket.user != nil
            )
        case .identity, .invite: return self.findOwner(proof, at: now, where: isProven)
        case nil: return nil
        }
    }

    private mutating func findOwner(
        _ proof: OfferProof,
        at now: Int64,
        where isProven: (Credential) -> Bool
    ) -> Match? {
        let period = Credential.period(of: proof.date)
        if self.hints[period] == nil {
            // The farthest one, not the oldest: this machine's clock may have been ahead.
            if self.hints.count >= Self.maximumPeriods,
                let farthest = self.hints.keys.max(by: { abs($0 - period) < abs($1 - period) })
            {
                self.hints[farthest] = nil
            }
            self.hints[period] = self.index(at: proof.date)
        }
        for owner in self.hints[period]?[proof.hint] ?? [] {
            switch owner {
            case .identity(let identity):
                guard let credential = self.listed[identity]?.credential ?? self.revoked[identity]?.credential,
                    isProven(credential)
                else { continue }
                return Match(identity: identity, credential: credential, comment: self.comment(of: identity))
            case .invite(let derived):
                guard let invite = self.invites[derived], isProven(invite.credential) else { continue }
                var match = Match(identity: nil, credential: invite.credential, comment: invite.comment)
                if let expires = invite.expires, expires <= now { match.refusal = .expired }
                if invite.revokedUntil != nil { match.refusal = .revoked }
                return match
            }
        }
        return nil
    }

    private func comment(of identity: PublicKey) -> String {
        self.listed[identity]?.comment ?? self.revoked[identity]?.comment ?? ""
    }

    private func index(at date: Int64) -> [UInt64: [Owner]] {
        var index: [UInt64: [Owner]] = [:]
        index.reserveCapacity(self.listed.count + self.revoked.count + self.invites.count)
        for (identity, client) in self.listed {
            index[client.credential.hint(at: date), default: []].append(.identity(identity))
        }
        for (identity, entry) in self.revoked {
            index[entry.credential.hint(at: date), default: []].append(.identity(identity))
        }
        for (derived, invite) in self.invites {
            index[invite.credential.hint(at: date), default: []].append(.invite(derived))
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
