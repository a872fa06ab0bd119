//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Foundation
import NIOCore
import Nostr
import NostrCrypto
import Testing
import TunnelProtocol

@testable import Tunnel

@Suite("Certificates of exits")
struct ExitCertificateTests {
    private static let now = Date(timeIntervalSince1970: 1_800_000_000)

    private static func certificate(_ key: SecretKey) throws -> ExitCertificate {
        try ExitCertificate(key: key, name: NostrName(publicKey: key.publicKey, relays: []), now: Self.now)
    }

    private static func event(_ key: SecretKey, _ content: String, kind: EventKind = .exitCertificate) throws -> Event {
        try Event.signed(
            by: key,
            createdAt: 1_800_000_000,
            kind: kind,
            tags: [Tag("d", "")],
            content: ByteBuffer(string: content)
        )
    }

    @Test("what an exit publishes is verified, whenever it was made")
    func verified() throws {
        let key = SecretKey.generate()
        let certificate = try Self.certificate(key)
        let event = try certificate.event(by: key, createdAt: 1_800_000_000)
        #expect(try ExitCertificate.verified(event, of: key.publicKey, now: Self.now) == certificate.authority)
        let later = Self.now + 5 * 365 * 86_400
        #expect(try ExitCertificate.verified(event, of: key.publicKey, now: later) == certificate.authority)
        #expect(throws: ExitCertificate.VerificationError.expired) {
            try ExitCertificate.verified(event, of: key.publicKey, now: Self.now + 11 * 365 * 86_400)
        }
    }

    @Test("a forged event is refused")
    func forged() throws {
        let key = SecretKey.generate()
        let other = SecretKey.generate()
        let certificate = try Self.certificate(key)
        let foreign = try Self.certificate(other)
        func refusal(_ event: Event) -> ExitCertificate.VerificationError? {
            do {
                _ = try ExitCertificate.verified(event, of: key.publicKey, now: Self.now)
                return nil
            } catch {
                return error
            }
        }
        // Somebody else's signature, over the right certificate.
        #expect(refusal(try Self.event(other, certificate.authority)) == .otherAuthor)
        // Its author changed, and with it the id.
        let honest = try certificate.event(by: key, createdAt: 1_800_000_000)
        let stolen = Event(
            id: honest.id,
            pubkey: key.publicKey,
            createdAt: honest.createdAt,
            kind: honest.kind,
            tags: honest.tags,
            content: ByteBuffer(string: foreign.authority),
            signature: honest.signature
        )
        #expect(refusal(stolen) == .notSigned)
        // An exit that would like to vouch for others.
        #expect(refusal(try Self.event(key, foreign.authority)) == .otherName)
        #expect(
            refusal(try Self.event(key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
                == .notACertificate
        )
        #expect(refusal(try Self.event(key, "")) == .notACertificate)
        #expect(refusal(try Self.event(key, certificate.authority, kind: .relayList)) == .otherAuthor)
    }

    @Test("keys for other purposes are the same each time, and differ by purpose and by exit")
    func derivation() throws {
        let key = try SecretKey(Bytes32.sha256(of: [1]))
        let other = try SecretKey(Bytes32.sha256(of: [2]))
        let first = try key.derived(for: "tls-server/1/0")
        #expect(try key.derived(for: "tls-server/1/0") == first)
        #expect(try key.derived(for: "tls-authority/1/0") != first)
        #expect(try other.derived(for: "tls-server/1/0") != first)
        #expect(try key.exposeBytes() != first)
    }
}
