//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// A secret that a client shares with an exit. With it, the client proves in an offer that the exit knows it, and the
/// exit proves in its answer that it knows the client.
///
/// Only client and exit have the secret, so nobody else can make or check a proof. Both proofs are HMAC-SHA256
/// under a key that is derived for this purpose only (HKDF, RFC 5869).
package struct Credential: Sendable {
    /// What the secret is. The raw value is part of offers.
    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        /// The static Diffie-Hellman secret of the client's identity and the exit's key.
        case identity = 1
        /// A secret that the exit sent in an earlier session. It is used once.
        case ticket = 2
        /// A secret that the exit's owner gave to a device that the exit does not know yet.
        case invite = 3
    }

    package let kind: Kind
    private let hintKey: SymmetricKey
    private let proofKey: SymmetricKey

    /// Number of bytes of a hint.
    package static let hintLength = 8
    /// Time for which a hint stays the same, in seconds.
    package static let hintPeriod: Int64 = 3_600
    /// Length of the keys that are derived from a secret, in bytes. They are sufficient to check proofs.
    package static let derivedLength = 64

    /// Derives the credential of an identity for an exit. Both sides derive the same one. Takes about 35 µs.
    ///
    /// - Parameters:
    ///   - secret: At the client the identity's secret key, at the exit the exit's.
    ///   - peer: The public key of the other side.
    ///   - exit: The exit's public key: that of `secret` or `peer`.
    /// - Throws: ``CryptoError/invalidPublicKey`` if `peer` is not on the curve.
    package init(identity secret: SecretKey, peer: PublicKey, exit: PublicKey) throws(CryptoError) {
        let identity = exit == peer ? secret.publicKey : peer
        let shared = try secret.sharedX(with: peer)
        self.init(.identity, secret: shared.bytes, exit: exit, binding: identity.bytes.bytes)
    }

    /// Derives the credential of a ticket.
    ///
    /// - Parameters:
    ///   - ticket: The secret that the exit sent.
    ///   - identity: The identity of the client to which it was sent.
    ///   - exit: The exit's public key.
    package init(ticket: Bytes32, identity: PublicKey, exit: PublicKey) {
        self.init(.ticket, secret: ticket.bytes, exit: exit, binding: identity.bytes.bytes)
    }

    /// Derives the credential of an invite from its secret.
    package init(invite: Bytes32, exit: PublicKey) {
        self.init(.invite, secret: invite.bytes, exit: exit, binding: [])
    }

    /// Creates a credential from keys that were derived before.
    package init(_ kind: Kind, derived: [UInt8]) {
        self.kind = kind
        self.hintKey = SymmetricKey(data: derived.prefix(Bytes32.count))
        self.proofKey = SymmetricKey(data: derived.dropFirst(Bytes32.count))
    }

    private init(_ kind: Kind, secret: [UInt8], exit: PublicKey, binding: [UInt8]) {
        let keys = HKDF<Crypto.SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: secret),
            salt: Array("nws/credential".utf8),
            info: [kind.rawValue] + exit.bytes.bytes + binding,
            outputByteCount: Self.derivedLength
        )
        self.init(kind, derived: unsafe keys.withUnsafeBytes { unsafe Array($0) })
    }

    /// The keys that are derived from the secret, to store them.
    package var derived: [UInt8] {
        unsafe self.hintKey.withUnsafeBytes { unsafe Array($0) }
            + self.proofKey.withUnsafeBytes { unsafe Array($0) }
    }

    /// A value by which the exit finds the credential in its list. It changes every ``hintPeriod`` seconds. Hints of
    /// different periods can be connected only with the credential.
    ///
    /// - Parameter date: Seconds since 1970.
    package func hint(at date: Int64) -> UInt64 {
        let period = Self.period(of: date)
        let code = HMAC<Crypto.SHA256>.authenticationCode(for: period.bigEndianBytes, using: self.hintKey)
        return code.prefix(Self.hintLength).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The hint of a ticket. A ticket is used once, so its hint does not change.
    package var ticketHint: UInt64 { self.hint(at: 0) }

    /// The number of the period that contains a date.
    package static func period(of date: Int64) -> Int64 {
        date / Self.hintPeriod - (date % Self.hintPeriod < 0 ? 1 : 0)
    }

    /// Authenticates a message with this credential.
    package func proof(of message: [UInt8]) -> Bytes32 {
        let code = HMAC<Crypto.SHA256>.authenticationCode(for: message, using: self.proofKey)
        // The code of SHA-256 has 32 bytes.
        return Bytes32(Array(code)) ?? .zero
    }

    /// Returns whether a proof is valid. The time does not depend on the content.
    package func isValid(_ proof: Bytes32, of message: [UInt8]) -> Bool {
        HMAC<Crypto.SHA256>.isValidAuthenticationCode(proof.bytes, authenticating: message, using: self.proofKey)
    }
}

extension Credential: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension Int64 {
    fileprivate var bigEndianBytes: [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: self >> (56 - 8 * $0)) } }
}
