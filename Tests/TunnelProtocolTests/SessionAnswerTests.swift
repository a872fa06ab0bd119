//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Answers to offers")
struct SessionAnswerTests {
    private let exit = SecretKey.generate()
    private let fresh = SecretKey.generate().publicKey
    private let hash = Bytes32.sha256(of: [1])

    private static let terms = AcceptanceTerms(
        parameters: SessionParameters(SessionConfiguration()),
        ciphertext: [UInt8](repeating: 5, count: KeyEncapsulation.ciphertextLength),
        relays: ["wss://a.example", "", "ws://b.example/x"],
        openedBytes: 0,
        wantsIdentity: true
    )

    private func acceptance(_ path: Int = 1, proof: Bytes32? = nil) throws -> SessionAcceptance {
        let body = Self.terms.encoded
        let transcript = SessionTranscript(offerHash: self.hash, fresh: self.fresh, body: body)
        return SessionAcceptance(
            path: PathID(rawValue: path),
            terms: Self.terms,
            body: body,
            signature: try self.exit.sign(transcript.exitSignedHash),
            proof: proof
        )
    }

    private func isSigned(_ answer: SessionAnswer, hash: Bytes32? = nil, fresh: PublicKey? = nil) -> Bool {
        answer.isSigned(by: self.exit.publicKey, offerHash: hash ?? self.hash, fresh: fresh ?? self.fresh)
    }

    @Test(
        "an acceptance survives encoding, with and without the exit's proof",
        arguments: [nil, Bytes32.sha256(of: [2])]
    )
    func acceptanceEncoding(proof: Bytes32?) throws {
        let acceptance = try self.acceptance(proof: proof)
        let decoded = try #require(SessionAnswer(plaintext: acceptance.encoded))
        #expect(decoded == .accepted(acceptance))
        #expect(self.isSigned(decoded))
        for length in 0..<acceptance.encoded.count where length != acceptance.encoded.count - Bytes32.count {
            #expect(SessionAnswer(plaintext: Array(acceptance.encoded.prefix(length))) == nil)
        }
    }

    @Test("the exit's signature covers the offer, the session key and the body, and not the path")
    func acceptanceSignature() throws {
        let acceptance = SessionAnswer.accepted(try self.acceptance())
        #expect(!self.isSigned(acceptance, hash: .zero))
        #expect(!self.isSigned(acceptance, fresh: SecretKey.generate().publicKey))
        #expect(self.isSigned(.accepted(try self.acceptance(7))))
        var bytes = try self.acceptance().encoded
        bytes[bytes.count - SchnorrSignature.length - 1] ^= 1
        let changed = try #require(SessionAnswer(plaintext: bytes))
        #expect(!self.isSigned(changed))
    }

    @Test("a refusal survives encoding, and its signature covers the offer, the author and the reason")
    func refusal() throws {
        let refusal = try SessionRefusal(
            .unsupportedVersion,
            signedBy: self.exit,
            offerHash: self.hash,
            fresh: self.fresh
        )
        let decoded = try #require(SessionAnswer(plaintext: refusal.encoded))
        #expect(decoded == .refused(refusal))
        #expect(refusal.versions == [1])
        #expect(self.isSigned(decoded))
        #expect(!self.isSigned(decoded, hash: .zero))
        #expect(!self.isSigned(decoded, fresh: SecretKey.generate().publicKey))
        var bytes = refusal.encoded
        bytes[1] ^= 1
        let changed = try #require(SessionAnswer(plaintext: bytes))
        #expect(!self.isSigned(changed))
        for length in 0..<refusal.encoded.count {
            #expect(SessionAnswer(plaintext: Array(refusal.encoded.prefix(length))) == nil)
        }
    }

    @Test("each purpose has its own hash of a transcript")
    func purposes() {
        let transcript = SessionTranscript(offerHash: self.hash, fresh: self.fresh, body: [1])
        let updated = transcript.updated(client: [1], exit: [2])
        let hashes = [
            transcript.hash, transcript.exitSignedHash, transcript.identitySignedHash, updated.hash,
            updated.exitSignedHash, transcript.updated(client: [], exit: [1, 2]).hash,
            .sha256(of: transcript.exitProvenMessage),
        ]
        #expect(Set(hashes).count == hashes.count)
    }

    @Test("a body without ciphertext, with a parameter twice or with too many relays is rejected")
    func malformedTerms() {
        #expect(AcceptanceTerms(encoded: Self.terms.encoded) == Self.terms)
        #expect(AcceptanceTerms(encoded: []) == nil)
        #expect(AcceptanceTerms(encoded: Self.terms.encoded + [0x25, 0]) == nil)
        var terms = Self.terms
        terms.relays = []
        // 17 empty URLs in a second list of relays.
        #expect(AcceptanceTerms(encoded: terms.encoded + [0x26, 17] + [UInt8](repeating: 0, count: 17)) == nil)
    }
}
