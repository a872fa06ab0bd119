//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Testing

@testable import NostrCrypto

@Suite("Credentials that a client shares with an exit")
struct CredentialTests {
    private let exit = SecretKey.generate()
    private let client = SecretKey.generate()

    private var atClient: Credential {
        get throws { try Credential(identity: self.client, peer: self.exit.publicKey, exit: self.exit.publicKey) }
    }
    private var atExit: Credential {
        get throws { try Credential(identity: self.exit, peer: self.client.publicKey, exit: self.exit.publicKey) }
    }

    @Test("both sides derive the same credential")
    func agreement() throws {
        let proof = try self.atClient.proof(of: [1, 2, 3])
        #expect(try self.atExit.isValid(proof, of: [1, 2, 3]))
        #expect(try self.atClient.hint(at: 1_000_000) == self.atExit.hint(at: 1_000_000))
    }

    @Test("a proof is invalid for another message, another client and another exit")
    func binding() throws {
        let proof = try self.atClient.proof(of: [1, 2, 3])
        #expect(try !self.atExit.isValid(proof, of: [1, 2, 4]))
        let others = [
            try Credential(identity: self.exit, peer: SecretKey.generate().publicKey, exit: self.exit.publicKey),
            try Credential(identity: SecretKey.generate(), peer: self.client.publicKey, exit: self.exit.publicKey),
        ]
        for other in others { #expect(!other.isValid(proof, of: [1, 2, 3])) }
    }

    @Test("the same two keys have another credential if the roles are exchanged")
    func roles() throws {
        let exchanged = try Credential(identity: self.exit, peer: self.client.publicKey, exit: self.client.publicKey)
        #expect(try exchanged.hint(at: 0) != self.atExit.hint(at: 0))
        #expect(try !exchanged.isValid(self.atExit.proof(of: [1]), of: [1]))
    }

    @Test("a hint is the same for an hour and then changes")
    func hints() throws {
        let credential = try self.atExit
        #expect(credential.hint(at: 3_600) == credential.hint(at: 7_199))
        #expect(credential.hint(at: 7_199) != credential.hint(at: 7_200))
        #expect(Credential.period(of: -1) == -1)
        #expect(Credential.period(of: -3_600) == -1)
        #expect(Credential.period(of: -3_601) == -2)
    }

    @Test("a credential is not printed")
    func redacted() throws {
        let credential = try self.atExit
        #expect("\(credential)" == "<redacted>")
        var text = ""
        dump(credential, to: &text)
        #expect(!text.contains("Key"))
    }
}
