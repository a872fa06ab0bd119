//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing

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
        let proof = credential.proof(of: [7])
        return table.find(hint: credential.hint(at: date), date: date) { $0.isValid(proof, of: [7]) }?.identity
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
        let found = table.find(hint: hint, date: Self.now) { _ in false }
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
}
