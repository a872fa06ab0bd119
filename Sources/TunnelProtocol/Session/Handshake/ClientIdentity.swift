//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// A client's identity: its long-term public key and the signature of that key over the session.
///
/// The client sends it only inside the session, so relays do not learn it. The signature is bound to this session and
/// exit, so the exit cannot use it to impersonate the client.
package struct ClientIdentity: Hashable, Sendable {
    /// The client's long-term public key.
    package let publicKey: PublicKey
    /// The signature. It is not verified until ``isProven(exit:client:fresh:acceptanceHashes:)`` is called.
    package let signature: SchnorrSignature

    /// Creates an identity from its parts.
    package init(publicKey: PublicKey, signature: SchnorrSignature) {
        self.publicKey = publicKey
        self.signature = signature
    }

    /// Signs the session with a key.
    ///
    /// - Parameters:
    ///   - key: The client's long-term key.
    ///   - exit: The exit's long-term public key.
    ///   - client: The client's session key.
    ///   - fresh: The exit's session key.
    ///   - acceptance: The body of an acceptance that the client received.
    /// - Throws: ``CryptoError`` if signing fails, which does not happen with a valid key.
    package init(
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

    /// Returns whether the signature is valid for this session and one of the acceptances that the exit sent.
    package func isProven(exit: PublicKey, client: PublicKey, fresh: PublicKey, acceptanceHashes: Set<Bytes32>) -> Bool
    {
        acceptanceHashes.contains { hash in
            self.publicKey.verify(
                self.signature,
                of: Self.signedHash(exit: exit, client: client, fresh: fresh, acceptanceHash: hash)
            )
        }
    }

    /// The tagged hash (BIP-340) over the keys of the session and the hash of the exit's acceptance.
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
