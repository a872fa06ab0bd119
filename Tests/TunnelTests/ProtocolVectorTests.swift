//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import Testing

@testable import Tunnel
@testable import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The test vectors of docs/PROTOCOL.md, which other implementations can check themselves against.
///
/// With `NWS_WRITE_VECTORS=1`, the test writes the file instead. ML-KEM ciphertexts are random, so an existing file is
/// checked with its own.
@Suite("Test vectors of the session protocol")
struct ProtocolVectorTests {
    /// One step of the protocol. All values are hexadecimal, except numbers and texts.
    struct Vector: Codable, Hashable {
        var name: String
        var values: [String: String]
    }

    private static let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "docs/vectors/session-1.json")
    private static var isWriting: Bool { ProcessInfo.processInfo.environment["NWS_WRITE_VECTORS"] != nil }

    static let uuid = "b0a4d3a6-5d9c-4f7e-9d3e-5a1b2c3d4e5f"
    private static let date: Int64 = 1_800_000_000
    private let exit: SecretKey
    private let identity: SecretKey
    /// The session keys of client and exit, by generation.
    private let client: [SecretKey]
    private let fresh: [SecretKey]

    init() throws {
        func key(_ byte: UInt8) throws -> SecretKey {
            try SecretKey(try #require(Bytes32([UInt8](repeating: byte, count: 32))))
        }
        self.exit = try key(0x11)
        self.identity = try key(0x22)
        self.client = [try key(0x33), try key(0x55)]
        self.fresh = [try key(0x44), try key(0x66)]
    }

    static func hex(_ bytes: [UInt8]) -> String { Hex.encode(bytes) }

    private static func seed(_ generation: Int) -> [UInt8] {
        [UInt8](repeating: UInt8(0x70 + generation), count: 64)
    }

    private func sign(_ hash: Bytes32, by key: SecretKey) throws -> SchnorrSignature {
        try key.sign(hash, auxiliaryRandomness: .zero)
    }

    @Test("padding, and a STREAM frame without a length, are decoded")
    func handwrittenFrames() throws {
        let bytes = try #require(Hex.decode("00000c0100010203"))
        let decoded = try SessionFrameDecoder.decode(ByteBuffer(bytes: bytes))
        let data = ByteBuffer(bytes: [1, 2, 3])
        #expect(decoded == [.stream(StreamID(rawValue: 1), offset: 0, data: data, isFinal: false)])
    }

    @Test("the vectors in docs/vectors are those of this implementation")
    func vectors() throws {
        // A file that is written again keeps its ciphertexts. Delete it for new ones.
        let file = Self.isWriting ? try? Data(contentsOf: Self.path) : try Data(contentsOf: Self.path)
        let known = try file.map { try JSONDecoder().decode([Vector].self, from: $0) } ?? []
        func ciphertext(_ generation: Int, for key: DecapsulationKey) throws -> [UInt8] {
            let name = generation == 0 ? "acceptance" : "key update"
            guard let text = known.first(where: { $0.name == name })?.values["ciphertext"] else {
                return try KeyEncapsulation.encapsulate(to: try key.encapsulationKey).ciphertext
            }
            return try #require(Hex.decode(text))
        }
        var vectors = try self.keys() + self.credentials() + Self.frames() + Self.directFrames()
        let (offer, offerVectors) = try self.offer()
        let decapsulationKey = try DecapsulationKey(seed: Self.seed(0))
        let (transcript, secrets, handshake) = try self.handshake(
            offer,
            ciphertext: ciphertext(0, for: decapsulationKey)
        )
        vectors += offerVectors + handshake
        vectors += try self.update(
            transcript,
            secrets,
            ciphertext: ciphertext(1, for: try DecapsulationKey(seed: Self.seed(1)))
        )
        vectors += try Self.packets(secrets)
        vectors.append(try self.enrolment(transcript))
        vectors.append(Self.messages())
        if Self.isWriting {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            try (try encoder.encode(vectors) + Array("\n".utf8)).write(to: Self.path)
        } else {
            for (vector, expected) in zip(vectors, known) { #expect(vector == expected) }
            #expect(vectors.count == known.count)
        }
    }

    // MARK: Keys

    private func keys() throws -> [Vector] {
        var values: [String: String] = [:]
        let named = [
            ("exit", self.exit), ("identity", self.identity), ("c", self.client[0]), ("e", self.fresh[0]),
            ("c1", self.client[1]), ("e1", self.fresh[1]),
        ]
        for (name, key) in named {
            values["\(name) secret"] = Self.hex(try key.exposeBytes().bytes)
            values[name] = key.publicKey.hex
        }
        for generation in 0...1 {
            values["kem seed \(generation)"] = Self.hex(Self.seed(generation))
            values["kem key \(generation)"] = Self.hex(
                try DecapsulationKey(seed: Self.seed(generation)).encapsulationKey
            )
        }
        return [
            Vector(name: "keys", values: values),
            Vector(
                name: "tagged hash",
                values: [
                    "tag": "nws/example", "fields": "01 0203",
                    "hash": Bytes32.tagged("nws/example", [[1], [2, 3]]).hex,
                ]
            ),
        ]
    }

    private static let secret = Bytes32.sha256(of: [1])

    private func namedCredentials() throws -> [(String, Credential)] {
        [
            ("identity", try Credential(identity: self.identity, peer: self.exit.publicKey, exit: self.exit.publicKey)),
            ("ticket", Credential(ticket: Self.secret, identity: self.identity.publicKey, exit: self.exit.publicKey)),
            ("invite", Credential(invite: Self.secret, exit: self.exit.publicKey)),
        ]
    }

    /// Adds the proof of a credential to an offer of c.
    private func prove(_ offer: inout VersionedOffer, with credential: Credential) {
        offer.prove(
            with: credential,
            exit: self.exit.publicKey,
            client: self.client[0].publicKey,
            uuid: Self.uuid,
            at: Self.date
        )
    }

    private func credentials() throws -> [Vector] {
        try self.namedCredentials().map { name, credential in
            var values = [
                "kind": "\(credential.kind.rawValue)", "derived": Self.hex(credential.derived), "date": "\(Self.date)",
            ]
            let hint = credential.kind == .ticket ? credential.ticketHint : credential.hint(at: Self.date)
            values["hint"] = Self.hex((0..<8).map { UInt8(truncatingIfNeeded: hint >> UInt64(56 - 8 * $0)) })
            if credential.kind != .identity { values["secret"] = Self.secret.hex }
            return Vector(name: "credential: \(name)", values: values)
        }
    }

    // MARK: Enrolment

    private func enrolment(_ transcript: SessionTranscript) throws -> Vector {
        let invite = InviteSecret(Self.secret)
        let token = invite.token(for: self.exit.publicKey)
        let hash = EnrolmentRequest.signedHash(transcript, token: token, name: "laptop")
        let signature = try self.sign(hash, by: self.identity)
        let encoded =
            token.bytes + self.identity.publicKey.bytes.bytes + signature.bytes + [6] + Array("laptop".utf8)
        let request = try #require(EnrolmentRequest(encoded: ByteBuffer(bytes: encoded)))
        #expect(request.isProven(by: transcript))
        let code = InviteCode(
            name: NostrName(publicKey: self.exit.publicKey, relays: [try RelayURL("wss://a.example")]),
            secret: invite,
            label: "home",
            expires: 1_800_000_000
        )
        let accepted = EnrolmentAnswer.enrolled(.init(ports: [22, 80], servesOthers: false))
        return Vector(
            name: "enrolment",
            values: [
                "secret": Self.secret.hex, "token": token.hex,
                "verifier": invite.verifier(for: self.exit.publicKey).hex, "signed hash": hash.hex,
                "signature": Self.hex(signature.bytes), "request": Self.hex(request.encoded),
                "answer": Self.hex(Array(accepted.encoded.readableBytesView)),
                "refusal": Self.hex(Array(EnrolmentAnswer.refused(.revoked).encoded.readableBytesView)),
                "invite": code.encoded,
            ]
        )
    }

    // MARK: Handshake

    private func offer() throws -> (VersionedOffer, [Vector]) {
        let terms = OfferTerms(
            parameters: SessionParameters(SessionConfiguration()),
            purpose: .session(encapsulationKey: try DecapsulationKey(seed: Self.seed(0)).encapsulationKey),
            opening: OfferTerms.Opening(request: StreamRequest(destination: "", port: 80), data: Array("GET /".utf8))
        )
        var offer = VersionedOffer(
            nonce: Array(UInt8(0)..<16),
            bodies: [VersionedOffer.Body(version: 1, bytes: terms.encoded)]
        )
        let unproven = offer
        var proofs: [String: String] = [:]
        for (name, credential) in try self.namedCredentials() {
            var proven = unproven
            self.prove(&proven, with: credential)
            proofs[name] = Self.hex(try #require(proven.proof).encoded)
            if credential.kind == .identity { offer = proven }
        }
        let proof = try #require(offer.proof)
        let plaintext = SessionOffer.plaintext(offer, key: Self.uuid, destination: "x.nostr", isRepetition: false)
        let queryTerms = OfferTerms(
            parameters: SessionParameters(SessionConfiguration()),
            purpose: .query(self.fresh[0].publicKey)
        )
        var query = VersionedOffer(
            nonce: Array(UInt8(16)..<32),
            bodies: [VersionedOffer.Body(version: 1, bytes: queryTerms.encoded)]
        )
        self.prove(&query, with: try self.namedCredentials()[0].1)
        let asked = SessionOffer.plaintext(query, key: Self.uuid, destination: "x.nostr", isRepetition: true)
        return (
            offer,
            [
                Vector(
                    name: "session query about e",
                    values: [
                        "body": Self.hex(queryTerms.encoded), "offer": Self.hex(query.encoded),
                        "OFFER": String(decoding: asked, as: UTF8.self),
                    ]
                ),
                Vector(name: "proofs of the offer", values: proofs),
                Vector(
                    name: "offer",
                    values: [
                        "uuid": Self.uuid, "date": "\(Self.date)", "body": Self.hex(terms.encoded),
                        "proof": Self.hex(proof.encoded), "offer": Self.hex(offer.encoded),
                        "offer hash": self.hash(of: offer).hex, "CONNECT": String(decoding: plaintext, as: UTF8.self),
                    ]
                ),
            ]
        )
    }

    private func hash(of offer: VersionedOffer) -> Bytes32 {
        offer.hash(exit: self.exit.publicKey, client: self.client[0].publicKey, uuid: Self.uuid)
    }

    private func handshake(
        _ offer: VersionedOffer,
        ciphertext: [UInt8]
    ) throws -> (SessionTranscript, SessionSecrets, [Vector]) {
        let terms = AcceptanceTerms(
            parameters: SessionParameters(SessionConfiguration()),
            ciphertext: ciphertext,
            relays: ["wss://a.example", "", "wss://b.example"],
            openedBytes: 5,
            wantsIdentity: true
        )
        let transcript = SessionTranscript(
            offerHash: self.hash(of: offer),
            fresh: self.fresh[0].publicKey,
            body: terms.encoded
        )
        let credential = try Credential(identity: self.identity, peer: self.exit.publicKey, exit: self.exit.publicKey)
        let acceptance = SessionAcceptance(
            path: PathID(rawValue: 2),
            terms: terms,
            body: terms.encoded,
            signature: try self.sign(transcript.exitSignedHash, by: self.exit),
            proof: credential.proof(of: transcript.exitProvenMessage)
        )
        let agreement = try ConversationKey(secretKey: self.client[0], publicKey: self.fresh[0].publicKey)
        let secret = try DecapsulationKey(seed: Self.seed(0)).decapsulate(ciphertext)
        let secrets = SessionSecrets(
            agreement: agreement,
            encapsulated: secret,
            previous: nil,
            transcript: transcript.hash
        )
        let identity = ClientIdentity(
            generation: 0,
            publicKey: self.identity.publicKey,
            signature: try self.sign(transcript.identitySignedHash, by: self.identity)
        )
        let refusal = try SessionRefusal(
            .unsupportedVersion,
            signedBy: self.exit,
            offerHash: self.hash(of: offer),
            fresh: self.fresh[0].publicKey
        )
        let vectors = [
            Vector(
                name: "acceptance",
                values: [
                    "ciphertext": Self.hex(ciphertext), "body": Self.hex(terms.encoded),
                    "transcript": transcript.hash.hex, "signed hash": transcript.exitSignedHash.hex,
                    "signature": acceptance.signature.hex, "exit's proof": acceptance.proof?.hex ?? "",
                    "plaintext": Self.hex(acceptance.encoded),
                ]
            ),
            Vector(
                name: "keys of generation 0",
                values: Self.values(of: secrets, agreement: agreement, secret: secret)
            ),
            Vector(
                name: "identity",
                values: [
                    "signed hash": transcript.identitySignedHash.hex,
                    "frame": Self.hex(Self.encoded(.identity(identity))),
                ]
            ),
            Vector(
                name: "refusal",
                values: [
                    "signature": try self.sign(
                        SessionRefusal.signedHash(
                            offerHash: self.hash(of: offer),
                            fresh: self.fresh[0].publicKey,
                            body: refusal.body
                        ),
                        by: self.exit
                    ).hex,
                    "code": "\(StreamEnd.unsupportedVersion.code)", "body": Self.hex(refusal.body),
                    "signed hash":
                        SessionRefusal.signedHash(
                            offerHash: self.hash(of: offer),
                            fresh: self.fresh[0].publicKey,
                            body: refusal.body
                        ).hex,
                ]
            ),
        ]
        return (transcript, secrets, vectors)
    }

    private static func values(
        of secrets: SessionSecrets,
        agreement: ConversationKey,
        secret: SharedSecret
    ) -> [String: String] {
        [
            "conversation key": Self.hex(agreement.bytes), "shared secret": Self.hex(secret.bytes),
            "client key": Self.hex(secrets.clientKey.bytes), "exit key": Self.hex(secrets.exitKey.bytes),
            "root": Self.hex(secrets.rootBytes),
        ]
    }

    private func update(
        _ transcript: SessionTranscript,
        _ secrets: SessionSecrets,
        ciphertext: [UInt8]
    ) throws -> [Vector] {
        let decapsulationKey = try DecapsulationKey(seed: Self.seed(1))
        let request = KeyUpdate(
            generation: 1,
            key: self.client[1].publicKey,
            content: .client(encapsulationKey: try decapsulationKey.encapsulationKey)
        )
        let unsigned = KeyUpdate(
            generation: 1,
            key: self.fresh[1].publicKey,
            content: .exit(ciphertext: ciphertext, SchnorrSignature(r: .zero, s: .zero))
        )
        let updated = transcript.updated(client: request.transcribed, exit: unsigned.transcribed)
        let answer = KeyUpdate(
            generation: 1,
            key: unsigned.key,
            content: .exit(ciphertext: ciphertext, try self.sign(updated.exitSignedHash, by: self.exit))
        )
        let agreement = try ConversationKey(secretKey: self.client[1], publicKey: self.fresh[1].publicKey)
        let secret = try decapsulationKey.decapsulate(ciphertext)
        let renewed = SessionSecrets(
            agreement: agreement,
            encapsulated: secret,
            previous: secrets,
            transcript: updated.hash
        )
        return try [
            Vector(
                name: "key update",
                values: [
                    "ciphertext": Self.hex(ciphertext), "client's message": Self.hex(request.encoded),
                    "exit's message": Self.hex(answer.encoded), "transcript": updated.hash.hex,
                ]
            ),
            Vector(
                name: "keys of generation 1",
                values: Self.values(of: renewed, agreement: agreement, secret: secret)
            ),
        ] + Self.datagrams(secrets, renewed)
    }
}
