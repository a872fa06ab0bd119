//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto
import NIOCore
package import Nostr
package import NostrCrypto
import SwiftASN1
package import TunnelProtocol
import X509

#if canImport(FoundationEssentials)
package import FoundationEssentials
#else
package import Foundation
#endif

/// The certificate authority of an exit, and a server certificate that it signs. Both are valid only for names of the
/// exit.
///
/// The keys of the authority and of the server are derived from the exit's key, so nothing is stored, and clients that
/// trust the authority still do so after a restart. Name constraints limit the authority to names of the exit (RFC
/// 5280, section 4.2.1.10). Trusting it therefore gives the exit no power over other sites.
package struct ExitCertificate: Sendable {
    /// The authority's certificate in PEM, for clients to trust.
    package let authority: String
    /// The server certificate in PEM, signed by the authority.
    let server: String
    /// The server's private key in PEM.
    let serverKey: String

    /// Validity of the authority's certificate in seconds.
    private static let authorityLifetime: TimeInterval = 10 * 365 * 86_400
    /// Validity of the server certificate in seconds. It is created again at each start.
    private static let serverLifetime: TimeInterval = 397 * 86_400
    /// How far in the past certificates become valid, in seconds, for clients whose clocks are slow.
    private static let backdating: TimeInterval = 86_400

    /// Creates both certificates.
    ///
    /// - Parameters:
    ///   - key: The exit's secret key.
    ///   - name: The name that clients connect to.
    ///   - now: The current time.
    /// - Throws: ``CryptoError`` if a key cannot be derived, or an error of the X.509 library.
    package init(key: SecretKey, name: NostrName, now: Date) throws {
        let authorityKey = try Self.key(key, purpose: "tls-authority/1")
        let serverKey = try Self.key(key, purpose: "tls-server/1")
        let subject = try DistinguishedName { CommonName(key.publicKey.npub) }
        let authority = try Certificate(
            version: .v3,
            // Clients identify the authority by its key and subject, which do not change. Each certificate that it
            // issues needs its own serial number (RFC 5280, section 4.1.2.2).
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

    /// The ranges of all IPv4 and all IPv6 addresses: an address and a mask of zeros.
    private static let everyAddress = [8, 32].map {
        ASN1OctetString(contentBytes: [UInt8](repeating: 0, count: $0)[...])
    }

    /// Permits only the exit's DNS names. IP addresses must be excluded separately, because constraints on DNS names do
    /// not apply to them.
    private static func constraints(of key: PublicKey) -> NameConstraints {
        NameConstraints(permittedDNSDomains: Self.domains(of: key), excludedIPRanges: Self.everyAddress)
    }

    private static func key(_ key: SecretKey, purpose: String) throws -> P256.Signing.PrivateKey {
        // About one in 2^32 values is not a valid P-256 key.
        for attempt in 0..<8 {
            let bytes = try key.derived(for: "\(purpose)/\(attempt)")
            if let key = try? P256.Signing.PrivateKey(rawRepresentation: bytes.bytes) { return key }
        }
        throw CryptoError.operationFailed
    }

    private static func domain(of key: PublicKey) -> String { NostrName(publicKey: key, relays: []).encoded }

    /// The domains that contain all names of an exit: its key with `.nostr`, and its npub with and without `.nostr`.
    private static func domains(of key: PublicKey) -> [String] {
        [Self.domain(of: key), "\(key.npub).nostr", key.npub]
    }

    // MARK: On relays

    /// Creates the event that publishes the authority's certificate (kind 38334).
    package func event(by key: SecretKey, createdAt: Int64) throws -> Event {
        try Event.signed(
            by: key,
            createdAt: createdAt,
            kind: .exitCertificate,
            tags: [Tag("d", ""), Tag("p", ByteString(key.publicKey.hex))],
            content: ByteBuffer(string: self.authority)
        )
    }

    /// The reason why a published certificate was rejected.
    package enum VerificationError: Error, Hashable, Sendable, CustomStringConvertible {
        /// The event's ID or signature is invalid.
        case notSigned
        /// The event has another author or another kind.
        case otherAuthor
        /// The content is not a certificate in PEM.
        case notACertificate
        /// The certificate is not limited to names of the exit.
        case otherName
        /// The certificate has expired or is not valid yet.
        case expired

        package var description: String {
            switch self {
            case .notSigned: "the event's ID or signature is invalid"
            case .otherAuthor: "the event is not a certificate event of this exit"
            case .notACertificate: "the event does not contain a certificate in PEM"
            case .otherName: "the certificate is not limited to names of this exit"
            case .expired: "the certificate has expired or is not valid yet"
            }
        }
    }

    /// Verifies a published certificate.
    ///
    /// - Parameters:
    ///   - event: The event that contains the certificate.
    ///   - exit: The exit's public key.
    ///   - now: The current time.
    /// - Returns: The certificate in PEM.
    /// - Throws: ``VerificationError`` if the exit did not publish the event, or if the certificate is invalid or not
    ///   limited to names of the exit.
    package static func verified(_ event: Event, of exit: PublicKey, now: Date) throws(VerificationError) -> String {
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

    /// Returns whether the certificate is an authority that is limited to names of the exit, or a server certificate
    /// for such names.
    private static func isFor(_ certificate: Certificate, _ exit: PublicKey) -> Bool {
        let own = Set(Self.domains(of: exit))
        func isOwn(_ name: GeneralName) -> Bool {
            guard case .dnsName(let text) = name else { return false }
            return own.contains(text) || own.contains { text.hasSuffix("." + $0) }
        }
        // Reject a certificate whose extensions are missing or unreadable: other TLS software may accept it for more.
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
