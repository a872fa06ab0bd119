//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// The secret of an invite. It authorizes its owner to enrol one device with an exit.
///
/// The exit stores only values that are derived from it. ``credential(for:)`` verifies the proof in an offer, and
/// ``verifier(for:)`` is the hash of the token that the device reveals when it enrols. They do
/// not allow their thief to enrol a device, because the token cannot be computed from its hash.
package struct InviteSecret: Sendable {
    private let secret: Bytes32

    /// - Parameter secret: 32 random bytes.
    package init(_ secret: Bytes32) { self.secret = secret }

    /// Creates a random secret.
    package static func random() -> InviteSecret { InviteSecret(.random()) }

    /// The credential with which the device proves in its offer that it has the secret.
    package func credential(for exit: PublicKey) -> Credential { Credential(invite: self.secret, exit: exit) }

    /// What the device reveals inside of the session to enrol.
    package func token(for exit: PublicKey) -> Bytes32 {
        let key = HKDF<Crypto.SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: self.secret.bytes),
            salt: Array("nws/enrolment".utf8),
            info: exit.bytes.bytes,
            outputByteCount: Bytes32.count
        )
        // HKDF returns as many bytes as were requested.
        return unsafe Bytes32(key.withUnsafeBytes { unsafe Array($0) }) ?? .zero
    }

    /// What the exit stores to check the token.
    package func verifier(for exit: PublicKey) -> Bytes32 { Self.verifier(of: self.token(for: exit)) }

    /// The hash of a token.
    package static func verifier(of token: Bytes32) -> Bytes32 { .sha256(of: token.bytes) }

    /// The bytes of the secret, to print them in an invite. Never log them.
    package func exposeBytes() -> Bytes32 { self.secret }
}

extension InviteSecret: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
