//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NostrCrypto

/// A client's word of who it is: its long-term key, and that key's signature over the session.
///
/// It travels under the session's fresh keys alone, so no relay learns it, and holds for this session only: the exit that
/// gets it cannot show it to another.
public struct ClientIdentity: Hashable, Sendable {
    public let publicKey: PublicKey
    /// Not verified.
    public let signature: SchnorrSignature

    public init(publicKey: PublicKey, signature: SchnorrSignature) {
        self.publicKey = publicKey
        self.signature = signature
    }

    /// Proves a key's identity in a session.
    ///
    /// - Parameter acceptance: The body of an acceptance that the client got.
    /// - Throws: If the key cannot sign, which does not happen with keys that were read or made.
    public init(
        _ key: SecretKey,
        exit: PublicKey,
        client: PublicKey,
        fresh: PublicKey,
        acceptance: [UInt8]
    ) throws(CryptoError) {
        let hash = Self.signedHash(
            exit: exit,
            client: client,
            fresh: fresh,
            acceptanceHash: Bytes32.sha256(of: acceptance)
        )
        self.init(publicKey: key.publicKey, signature: try key.sign(hash))
    }

    /// Whether the signature is the key's, over this session and one of the acceptances that were sent in it.
    public func isProven(exit: PublicKey, client: PublicKey, fresh: PublicKey, acceptanceHashes: Set<Bytes32>) -> Bool {
        acceptanceHashes.contains { hash in
            self.publicKey.verify(
                self.signature,
                of: Self.signedHash(exit: exit, client: client, fresh: fresh, acceptanceHash: hash)
            )
        }
    }

    /// A tagged hash (BIP-340) over who speaks to whom, and the exit's acceptance.
    private static func signedHash(
        exit: PublicKey,
        client: PublicKey,
        fresh: PublicKey,
        acceptanceHash: Bytes32
    ) -> Bytes32 {
        let tag = Bytes32.sha256(of: Array("nws/session/1/identity".utf8)).bytes
        let parts = [exit.bytes.bytes, client.bytes.bytes, fresh.bytes.bytes, acceptanceHash.bytes]
        return Bytes32.sha256(of: tag + tag + parts.flatMap { $0 })
    }
}
