//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto
import NIOCore
public import Nostr
public import NostrCrypto
import SwiftASN1
public import TunnelProtocol
import X509

#if canImport(FoundationEssentials)
public import FoundationEssentials
#else
public import Foundation
#endif

/// The certificate authority of one exit, for its own names alone.
///
/// Its key and that of the server are made from the exit's key, so nothing is stored, and what a client trusted once holds
/// after a restart. It may vouch for names under the exit's key and for nothing else (RFC 5280, section 4.2.1.10), so
/// trusting it gives the exit no power over other sites.
public struct ExitCertificate: Sendable {
    /// The authority's certificate: what clients trust.
    public let authority: String
    /// The server's, signed by the authority.
    let server: String
    /// The server's key. A secret.
    let serverKey: String

    /// For as long a client may keep it.
    private static let authorityLifetime: TimeInterval = 10 * 365 * 86_400
    /// Made anew by each start.
    private static let serverLifetime: TimeInterval = 397 * 86_400
    /// For clocks that lag.
    private static let backdating: TimeInterval = 86_400

    /// - Parameters:
    ///   - key: The exit's.
    ///   - name: What clients ask for.
    ///   - now: Time of its making.
    public init(key: SecretKey, name: NostrName, now: Date) throws {
        let authorityKey = try Self.key(key, purpose: "tls-authority/1")
        let serverKey = try Self.key(key, purpose: "tls-server/1")
        let subject = try DistinguishedName { CommonName(key.publicKey.npub) }
        let authority = try Certificate(
            version: .v3,
            // Key and name make the authority; each writing of it has its own number (RFC 5280, section 4.1.2.2).
            serialNumber: .init(),
            publicKey: .init(authorityKey.publicKey),
            notValidBefore: now - Self.backdating,
            notValidAfter: now + Self.authorityLifetime,
            issuer: subject,
            subject: subject,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                Critical(Self.constraints(of: key.publicKey))
            },
            issuerPrivateKey: .init(authorityKey)
        )
        let domains = Self.domains(of: key.publicKey)
        let wildcard = "*.\(Self.domain(of: key.publicKey))"
        let names = domains.contains(name.encoded) ? domains + [wildcard] : [name.encoded] + domains + [wildcard]
        let server = try Certificate(
            version: .v3,
            serialNumber: .init(),
            publicKey: .init(serverKey.publicKey),
            notValidBefore: now - Self.backdating,
            notValidAfter: now + Self.serverLifetime,
            issuer: subject,
            subject: try DistinguishedName { CommonName("nws exit") },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(names.map { GeneralName.dnsName($0) })
            },
            issuerPrivateKey: .init(authorityKey)
        )
        self.authority = try authority.serializeAsPEM().pemString
        self.server = try server.serializeAsPEM().pemString
        self.serverKey = serverKey.pemRepresentation
    }

    /// All IPv4 and IPv6 addresses, with their masks.
    private static let everyAddress = [8, 32].map {
        ASN1OctetString(contentBytes: [UInt8](repeating: 0, count: $0)[...])
    }

    /// The exit's names and no others; names alone do not bind certificates for addresses.
    private static func constraints(of key: PublicKey) -> NameConstraints {
        NameConstraints(permittedDNSDomains: Self.domains(of: key), excludedIPRanges: Self.everyAddress)
    }

    private static func key(_ key: SecretKey, purpose: String) throws -> P256.Signing.PrivateKey {
        // One in 2^32 values is no key of the curve.
        for attempt in 0..<8 {
            let bytes = try key.derived(for: "\(purpose)/\(attempt)")
            if let key = try? P256.Signing.PrivateKey(rawRepresentation: bytes.bytes) { return key }
        }
        throw CryptoError.operationFailed
    }

    private static func domain(of key: PublicKey) -> String { NostrName(publicKey: key, relays: []).encoded }

    /// Where names of an exit live: below its key, and as an npub.
    private static func domains(of key: PublicKey) -> [String] {
        [Self.domain(of: key), "\(key.npub).nostr", key.npub]
    }

    // MARK: On relays

    /// The event that carries the authority's certificate (kind 38334).
    public func event(by key: SecretKey, createdAt: Int64) throws -> Event {
        try Event.signed(
            by: key,
            createdAt: createdAt,
            kind: .exitCertificate,
            tags: [Tag("d", ""), Tag("p", ByteString(key.publicKey.hex))],
            content: ByteBuffer(string: self.authority)
        )
    }

    /// What is wrong with a published certificate.
    public enum VerificationError: Error, Hashable, Sendable, CustomStringConvertible {
        case notSigned
        case otherAuthor
        case notACertificate
        case otherName
        case expired

        public var description: String {
            switch self {
            case .notSigned: "the event's signature is not its author's"
            case .otherAuthor: "it is somebody else's"
            case .notACertificate: "there is no certificate in it"
            case .otherName: "the certificate is for other names"
            case .expired: "the certificate has expired, or is not valid yet"
            }
        }
    }

    /// The certificate of an event in PEM, if the exit published it and it is for the exit's own names and no others.
    public static func verified(_ event: Event, of exit: PublicKey, now: Date) throws(VerificationError) -> String {
        guard event.kind == .exitCertificate, event.pubkey == exit else { throw .otherAuthor }
        do {
            try event.verify()
        } catch {
            throw .notSigned
        }
        let text = String(buffer: event.content)
        guard let certificate = try? Certificate(pemEncoded: text),
            let pem = try? certificate.serializeAsPEM().pemString
        else { throw .notACertificate }
        guard certificate.notValidBefore <= now, now <= certificate.notValidAfter else { throw .expired }
        guard Self.isFor(certificate, exit) else { throw .otherName }
        return pem
    }

    /// An authority for names under the key alone, or a server's certificate for such names.
    private static func isFor(_ certificate: Certificate, _ exit: PublicKey) -> Bool {
        let own = Set(Self.domains(of: exit))
        func isOwn(_ name: GeneralName) -> Bool {
            guard case .dnsName(let text) = name else { return false }
            return own.contains(text) || own.contains { text.hasSuffix("." + $0) }
        }
        // What is not said, or not understood, is taken for what it may be taken for elsewhere.
        guard certificate.version == .v3, let basic = try? certificate.extensions.basicConstraints else { return false }
        if case .isCertificateAuthority = basic {
            guard let constraints = try? certificate.extensions.nameConstraints else { return false }
            let addresses = constraints.excludedIPRanges
            return !constraints.permittedSubtrees.isEmpty && constraints.permittedSubtrees.allSatisfy(isOwn)
                && Self.everyAddress.allSatisfy { every in addresses.contains { $0 == every } }
        }
        guard let usage = try? certificate.extensions.keyUsage, !usage.keyCertSign,
            let names = try? certificate.extensions.subjectAlternativeNames
        else { return false }
        return !names.isEmpty && names.allSatisfy(isOwn)
    }
}
