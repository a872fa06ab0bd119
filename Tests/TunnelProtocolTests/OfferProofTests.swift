//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrCrypto
import Testing

@testable import TunnelProtocol

@Suite("Offers and their proofs")
struct OfferProofTests {
    private let exit = SecretKey.generate()
    private let client = SecretKey.generate()
    private let session = SecretKey.generate()
    private static let uuid = "b0a4d3a6-5d9c-4f7e-9d3e-5a1b2c3d4e5f"
    private static let date: Int64 = 1_700_000_000

    private static let terms = OfferTerms(
        parameters: SessionParameters(SessionConfiguration()),
        purpose: .session(encapsulationKey: [UInt8](repeating: 7, count: KeyEncapsulation.keyLength)),
        opening: OfferTerms.Opening(request: StreamRequest(destination: "", port: 80), data: [1, 2, 3])
    )

    private static func offer(
        nonce: UInt8 = 1,
        bodies: [VersionedOffer.Body] = [.init(version: 1, bytes: Self.terms.encoded)]
    ) -> VersionedOffer {
        VersionedOffer(nonce: [UInt8](repeating: nonce, count: VersionedOffer.nonceLength), bodies: bodies)
    }

    private func credentials(_ kind: Credential.Kind) throws -> (client: Credential, exit: Credential) {
        let secret = Bytes32.sha256(of: [3])
        switch kind {
        case .identity:
            return (
                try Credential(identity: self.client, peer: self.exit.publicKey, exit: self.exit.publicKey),
                try Credential(identity: self.exit, peer: self.client.publicKey, exit: self.exit.publicKey)
            )
        case .ticket:
            let credential = Credential(ticket: secret, identity: self.client.publicKey, exit: self.exit.publicKey)
            return (credential, Credential(.ticket, derived: credential.derived))
        case .invite:
            let credential = Credential(invite: secret, exit: self.exit.publicKey)
            return (credential, Credential(.invite, derived: credential.derived))
        }
    }

    private func proven(_ kind: Credential.Kind = .identity) throws -> VersionedOffer {
        var offer = Self.offer()
        offer.prove(
            with: try self.credentials(kind).client,
            exit: self.exit.publicKey,
            client: self.session.publicKey,
            uuid: Self.uuid,
            at: Self.date
        )
        return offer
    }

    private func isProven(
        _ offer: VersionedOffer,
        _ kind: Credential.Kind = .identity,
        uuid: String = Self.uuid,
        client: PublicKey? = nil
    ) throws -> Bool {
        offer.isProven(
            by: try self.credentials(kind).exit,
            exit: self.exit.publicKey,
            client: client ?? self.session.publicKey,
            uuid: uuid
        )
    }

    @Test(
        "an offer with a proof survives encoding, and the exit accepts the proof",
        arguments: Credential.Kind.allCases
    )
    func encoding(kind: Credential.Kind) throws {
        let offer = try self.proven(kind)
        let plaintext = SessionOffer.plaintext(offer, key: Self.uuid, destination: "name", isRepetition: false)
        let decoded = try #require(
            NIP74Message(plaintext: ByteBuffer(bytes: plaintext))?.offer.flatMap { VersionedOffer(encoded: $0) }
        )
        #expect(decoded == offer)
        #expect(try self.isProven(decoded, kind))
        #expect(decoded.body(of: 1).flatMap { OfferTerms(encoded: $0) } == Self.terms)
        #expect(decoded.body(of: 2) == nil)
    }

    @Test("a proof is invalid in an offer that differs in any byte")
    func binding() throws {
        let offer = try self.proven()
        #expect(try !self.isProven(offer, uuid: "another"))
        #expect(try !self.isProven(offer, client: SecretKey.generate().publicKey))
        for index in stride(from: 0, to: offer.encoded.count, by: 7) {
            var bytes = offer.encoded
            bytes[index] ^= 1
            let changed = VersionedOffer(encoded: bytes)
            #expect(try changed.map { try self.isProven($0) } != true)
        }
        for kind in Credential.Kind.allCases where kind != .identity { #expect(try !self.isProven(offer, kind)) }
    }

    @Test("the hash of an offer depends on the exit, the client, the UUID and each byte")
    func hash() throws {
        let offer = try self.proven()
        func hash(_ offer: VersionedOffer, exit: UInt8 = 1, client: UInt8 = 2, uuid: String = Self.uuid) -> Bytes32 {
            offer.hash(
                exit: PublicKey(unchecked: Bytes32.sha256(of: [exit])),
                client: PublicKey(unchecked: Bytes32.sha256(of: [client])),
                uuid: uuid
            )
        }
        let all = [
            hash(offer), hash(offer, exit: 9), hash(offer, client: 9), hash(offer, uuid: "x"), hash(Self.offer()),
            hash(Self.offer(nonce: 2)),
        ]
        #expect(Set(all).count == all.count)
    }

    @Test("malformed offers are rejected, and proofs of unknown kinds are ignored")
    func malformed() throws {
        let encoded = try self.proven().encoded
        for length in 0..<(encoded.count - OfferProof.encodedLength) {
            #expect(VersionedOffer(encoded: Array(encoded.prefix(length))) == nil)
        }
        // A proof that is cut short.
        for length in (encoded.count - OfferProof.encodedLength + 1)..<encoded.count {
            #expect(VersionedOffer(encoded: Array(encoded.prefix(length))) == nil)
        }
        var unknown = encoded
        unknown[encoded.count - OfferProof.encodedLength] = 9
        #expect(VersionedOffer(encoded: unknown + [1, 2, 3])?.proof == nil)
        let nonce = [UInt8](repeating: 0, count: VersionedOffer.nonceLength)
        // No version; too many versions; descending versions; a version twice.
        for bytes: [UInt8] in [[0], [9, 1, 0], [2, 2, 0, 1, 0], [2, 1, 0, 1, 0]] {
            #expect(VersionedOffer(encoded: nonce + bytes) == nil)
        }
        #expect(VersionedOffer(encoded: nonce + [1, 0x3f, 0])?.bodies.map(\.version) == [0x3f])
    }

    @Test("terms with missing, short or repeated parameters are rejected, and unknown ones are ignored")
    func terms() {
        let encoded = Self.terms.encoded
        #expect(OfferTerms(encoded: encoded) == Self.terms)
        #expect(OfferTerms(encoded: encoded + [0x3f, 2, 1, 1]) == Self.terms)
        #expect(OfferTerms(encoded: encoded + [0x04, 1, 1]) == nil)
        #expect(OfferTerms(encoded: []) == nil)
        #expect(OfferTerms(encoded: [0x20, 1, 1]) == nil)
        #expect(OfferTerms(encoded: [0x22, 1, 1]) == nil)
        let session = Bytes32.sha256(of: [1])
        let query = OfferTerms(encoded: [0x22, 32] + session.bytes)
        #expect(query?.queriedSession == PublicKey(unchecked: session))
    }
}
