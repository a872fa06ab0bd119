//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Crypto

/// The secrets of one generation of a session: a key for each direction, the root from which the next generation is derived,
/// and the secret from which the keys of datagrams are derived (docs/PROTOCOL.md).
package struct SessionSecrets: Sendable {
    /// Encrypts what the client sends.
    package let clientKey: ConversationKey
    /// Encrypts what the exit sends.
    package let exitKey: ConversationKey
    private let root: SymmetricKey
    /// The secret of the keys of direct paths.
    package let datagrams: DatagramSecret

    private static let info = Array("nws/session/1/keys".utf8)

    /// Derives the secrets of a generation.
    ///
    /// - Parameters:
    ///   - agreement: The NIP-44 conversation key of the two session keys of this generation.
    ///   - encapsulated: The secret of the key encapsulation of this generation.
    ///   - previous: The previous generation. Nil for the first one.
    ///   - transcript: The hash of everything that both sides have sent to agree on this generation.
    package init(
        agreement: ConversationKey,
        encapsulated: SharedSecret,
        previous: SessionSecrets?,
        transcript: Bytes32
    ) {
        // With its final size, so that no copy of it stays in memory.
        var material: [UInt8] = []
        material.reserveCapacity(3 * Bytes32.count)
        material += agreement.bytes
        unsafe encapsulated.key.withUnsafeBytes { unsafe material.append(contentsOf: $0) }
        if let root = previous?.root { unsafe root.withUnsafeBytes { unsafe material.append(contentsOf: $0) } }
        defer { material.erase() }
        let output = HKDF<Crypto.SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: material),
            salt: transcript.bytes,
            info: Self.info,
            outputByteCount: 4 * Bytes32.count
        )
        var bytes = unsafe output.withUnsafeBytes { unsafe Array($0) }
        defer { bytes.erase() }
        self.clientKey = ConversationKey(bytes: bytes[0..<32])
        self.exitKey = ConversationKey(bytes: bytes[32..<64])
        self.root = SymmetricKey(data: bytes[64..<96])
        self.datagrams = DatagramSecret(SymmetricKey(data: bytes[96..<128]))
    }

    /// The root secret. For test vectors.
    package var rootBytes: [UInt8] { unsafe self.root.withUnsafeBytes { unsafe Array($0) } }
}

extension SessionSecrets: CustomStringConvertible, CustomReflectable {
    package var description: String { "<redacted>" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
