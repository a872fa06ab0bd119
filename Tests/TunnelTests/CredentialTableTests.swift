//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Credentials of an access list")
struct CredentialTableTests {
    private static let now: Int64 = 1_800_000_000
    private let exit = SecretKey.generate()
    private let clients = (0..<20).map { _ in SecretKey.generate() }

    private func credential(_ client: SecretKey) throws -> Credential {
        try Credential(identity: client, peer: self.exit.publicKey, exit: self.exit.publicKey)
    }

    private func find(_ client: SecretKey, in table: inout CredentialTable, at date: Int64 = now) throws -> PublicKey? {
        let credential = try self.credential(client)
        return Self.find(credential, hint: credential.hint(at: date), in: &table, at: date)?.identity
    }

    private static func find(
        _ credential: Credential,
        hint: UInt64,
        in table: inout CredentialTable,
        at date: Int64 = now
    ) -> CredentialTable.Match? {
        let code = credential.proof(of: [7])
        let proof = OfferProof(kind: credential.kind.rawValue, date: date, hint: hint, code: code)
        return table.find(proof, at: date) { $0.isValid(code, of: [7]) }
    }

    @Test("each listed client is found by its hint in every period, and nobody else is")
    func listed() throws {
        var table = CredentialTable(key: self.exit)
        table.update(AuthorizedKeys(self.clients.dropLast().map(\.publicKey)), at: Self.now)
        for client in self.clients.dropLast() {
            for date in [Self.now, Self.now + 3_600, Self.now - 3_600, Self.now + 86_400, Self.now] {
                #expect(try self.find(client, in: &table, at: date) == client.publicKey)
            }
        }
        let stranger = try #require(self.clients.last)
        #expect(try self.find(stranger, in: &table) == nil)
    }

    @Test("a hint without a valid proof finds nobody")
    func invalidProof() throws {
        var table = CredentialTable(key: self.exit)
        table.update(AuthorizedKeys([self.clients[0].publicKey]), at: Self.now)
        let hint = try self.credential(self.clients[0]).hint(at: Self.now)
        let proof = OfferProof(kind: 1, date: Self.now, hint: hint, code: .zero)
        let found = table.find(proof, at: Self.now) { _ in false }
        #expect(found == nil)
    }

    @Test("a removed client is known for 30 days, and listed again without delay")
    func revoked() throws {
        var table = CredentialTable(key: self.exit)
        table.update(AuthorizedKeys([self.clients[0].publicKey]), at: Self.now)
        table.update(AuthorizedKeys(), at: Self.now)
        #expect(try self.find(self.clients[0], in: &table) == self.clients[0].publicKey)
        table.update(AuthorizedKeys(), at: Self.now + 31 * 86_400)
        #expect(try self.find(self.clients[0], in: &table) == nil)
        table.update(AuthorizedKeys([self.clients[0].publicKey]), at: Self.now + 31 * 86_400)
        #expect(try self.find(self.clients[0], in: &table) == self.clients[0].publicKey)
    }

    @Test("a listed key that is not on the curve is skipped")
    func invalidKey() throws {
        var table = CredentialTable(key: self.exit)
        let invalid = PublicKey(unchecked: try #require(Bytes32([UInt8](repeating: 0xff, count: 32))))
        table.update(AuthorizedKeys([invalid, self.clients[0].publicKey]), at: Self.now)
        #expect(try self.find(self.clients[0], in: &table) == self.clients[0].publicKey)
    }

    @Test("an invite belongs to no identity; it has expired, or was removed, for 30 days")
    func invites() {
        var table = CredentialTable(key: self.exit)
        let credential = Credential(invite: .sha256(of: [1]), exit: self.exit.publicKey)
        var access = AuthorizedKeys()
        access.invites = [
            .init(derived: credential.derived, verifier: .zero, expires: Self.now + 10, comment: "phone")
        ]
        table.update(access, at: Self.now)
        let found = Self.find(credential, hint: credential.hint(at: Self.now), in: &table)
        #expect(found != nil && found?.identity == nil && found?.refusal == nil)
        let late = Self.find(credential, hint: credential.hint(at: Self.now), in: &table, at: Self.now + 10)
        #expect(late?.refusal == .expired)
        table.update(AuthorizedKeys(), at: Self.now)
        let revoked = Self.find(credential, hint: credential.hint(at: Self.now), in: &table)
        #expect(revoked?.refusal == .revoked && revoked?.comment == "phone")
        let month: Int64 = 31 * 86_400
        table.update(AuthorizedKeys(), at: Self.now + month)
        #expect(Self.find(credential, hint: credential.hint(at: Self.now), in: &table) == nil)
    }

    @Test("a match has the comment of the list, also after the key was removed")
    func comments() throws {
        var table = CredentialTable(key: self.exit)
        let identity = self.clients[0].publicKey
        var access = AuthorizedKeys()
        access.allow(identity, .init(comment: "laptop"))
        table.update(access, at: Self.now)
        let ticket = table.issue(.sha256(of: [1]), to: identity, at: Self.now).credential
        let credential = try Credential(identity: self.exit, peer: identity, exit: self.exit.publicKey)
        func comments() -> [String?] {
            [
                Self.find(credential, hint: credential.hint(at: Self.now), in: &table)?.comment,
                Self.find(ticket, hint: ticket.ticketHint, in: &table)?.comment,
            ]
        }
        #expect(comments() == ["laptop", "laptop"])
        table.update(AuthorizedKeys(), at: Self.now)
        #expect(comments() == ["laptop", "laptop"])
    }

    @Test("a ticket is found until another offer has used it or its identity was removed")
    func tickets() throws {
        var table = CredentialTable(key: self.exit)
        let identity = self.clients[0].publicKey
        table.update(AuthorizedKeys([identity]), at: Self.now)
        let ticket = table.issue(.sha256(of: [1]), to: identity, at: Self.now).credential
        #expect(Self.find(ticket, hint: ticket.ticketHint, in: &table)?.isUsed == false)
        #expect(Self.find(ticket, hint: ticket.ticketHint, in: &table)?.identity == identity)
        let used = table.use(ticket.ticketHint, by: .sha256(of: [2]), at: Self.now)
        #expect(used != nil)
        #expect(Self.find(ticket, hint: ticket.ticketHint, in: &table)?.isUsed == true)
        let other = table.issue(.sha256(of: [3]), to: identity, at: Self.now).credential
        let removed = table.update(AuthorizedKeys(), at: Self.now)
        #expect(removed.map(\.identity) == [identity])
        #expect(Self.find(other, hint: other.ticketHint, in: &table)?.isUsed == true)
    }
}
