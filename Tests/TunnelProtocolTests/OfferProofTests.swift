//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Proofs in offers")
struct OfferProofTests {
    private let exit = SecretKey.generate()
    private let client = SecretKey.generate()
    private let session = SecretKey.generate()
    private static let uuid = "b0a4d3a6-5d9c-4f7e-9d3e-5a1b2c3d4e5f"

    private func terms() -> SessionOffer.Terms {
        SessionOffer.Terms(
            nonce: String(repeating: "ab", count: 16),
            parameters: SessionParameters(SessionConfiguration()),
            earlyData: SessionOffer.EarlyData(port: 80, bytes: [1, 2, 3])
        )
    }

    private func proven() throws -> SessionOffer.Terms {
        var terms = self.terms()
        terms.prove(
            with: try Credential(identity: self.client, peer: self.exit.publicKey, exit: self.exit.publicKey),
            exit: self.exit.publicKey,
            client: self.session.publicKey,
            uuid: Self.uuid,
            at: 1_700_000_000
        )
        return terms
    }

    private func isProven(
        _ terms: SessionOffer.Terms,
        uuid: String = Self.uuid,
        client: PublicKey? = nil
    ) throws -> Bool {
        terms.isProven(
            by: try Credential(identity: self.exit, peer: self.client.publicKey, exit: self.exit.publicKey),
            exit: self.exit.publicKey,
            client: client ?? self.session.publicKey,
            uuid: uuid
        )
    }

    @Test("an offer with a proof survives encoding, and the exit accepts the proof")
    func encoding() throws {
        let plaintext = SessionOffer.plaintext(
            try self.proven(),
            key: Self.uuid,
            destination: "name",
            isRepetition: false
        )
        let decoded = try #require(NIP74Message(plaintext: plaintext)?.terms)
        #expect(decoded == (try self.proven()))
        #expect(try self.isProven(decoded))
    }

    @Test("a proof is invalid in an offer that differs in any part")
    func binding() throws {
        let terms = try self.proven()
        #expect(try !self.isProven(terms, uuid: "another"))
        #expect(try !self.isProven(terms, client: SecretKey.generate().publicKey))
        let changes: [(inout SessionOffer.Terms) -> Void] = [
            { $0.versions = [1, 2] }, { $0.nonce = String(repeating: "cd", count: 16) },
            { $0.parameters.maximumStreams += 1 }, { $0.session = SecretKey.generate().publicKey },
            { $0.earlyData?.bytes.append(4) }, { $0.earlyData?.port = 81 }, { $0.earlyData = nil }, { $0.proof = nil },
        ]
        for change in changes {
            var changed = terms
            change(&changed)
            #expect(try !self.isProven(changed))
        }
        let proof = try #require(terms.proof)
        for other in [
            OfferProof(kind: 9, date: proof.date, hint: proof.hint, code: proof.code),
            OfferProof(kind: proof.kind, date: proof.date + 1, hint: proof.hint, code: proof.code),
            OfferProof(kind: proof.kind, date: proof.date, hint: proof.hint ^ 1, code: proof.code),
            OfferProof(kind: proof.kind, date: proof.date, hint: proof.hint, code: .zero),
        ] {
            var changed = terms
            changed.proof = other
            #expect(try !self.isProven(changed))
        }
    }

    @Test(
        "a proof of the wrong length makes the offer invalid",
        arguments: ["", "00", String(repeating: "0", count: 100)]
    )
    func length(text: String) throws {
        let valid = SessionOffer.plaintext(try self.proven(), key: Self.uuid, destination: "", isRepetition: true)
        let hex = try #require(try self.proven().proof.map { Hex.encode($0.encoded) })
        let changed = String(decoding: valid, as: UTF8.self).replacing(hex, with: text)
        #expect(NIP74Message(plaintext: Array(changed.utf8))?.terms == nil)
    }

    @Test(
        "an acceptance with and without the exit's proof survives encoding",
        arguments: [nil, Bytes32.sha256(of: [1])]
    )
    func acceptance(proof: Bytes32?) throws {
        let acceptance = SessionAcceptance(
            key: Self.uuid,
            path: PathID(rawValue: 2),
            parameters: SessionParameters(SessionConfiguration()),
            relays: ["wss://a.example", ""],
            proof: proof
        )
        let body = SessionAnswer.accepted(acceptance).body
        #expect(SessionAnswer(body: body) == .accepted(acceptance))
        #expect(SessionAnswer(body: Array(body.dropLast())) == nil)
    }
}
