//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// A client's identity: its long-term public key and the signature of that key over the session.
///
/// The client sends it only inside the session, so relays do not learn it. The signature is bound to this session and
/// exit, so the exit cannot use it to impersonate the client. It is renewed with each key update.
package struct ClientIdentity: Hashable, Sendable {
    /// The generation of keys to which the signature belongs.
    package let generation: Int
    /// The client's long-term public key.
    package let publicKey: PublicKey
    /// The signature. It is not verified until ``isProven(by:)`` is called.
    package let signature: SchnorrSignature

    /// Creates an identity from its parts.
    package init(generation: Int, publicKey: PublicKey, signature: SchnorrSignature) {
        self.generation = generation
        self.publicKey = publicKey
        self.signature = signature
    }

    /// Signs the session with a key.
    ///
    /// - Parameters:
    ///   - key: The client's long-term key.
    ///   - transcript: The transcript of the generation.
    /// - Throws: ``CryptoError`` if signing fails, which does not happen with a valid key.
    package init(_ key: SecretKey, generation: Int, transcript: SessionTranscript) throws(CryptoError) {
        self.init(
            generation: generation,
            publicKey: key.publicKey,
            signature: try key.sign(transcript.identitySignedHash)
        )
    }

    /// Returns whether the signature is valid for a transcript.
    package func isProven(by transcript: SessionTranscript) -> Bool {
        self.publicKey.verify(self.signature, of: transcript.identitySignedHash)
    }
}
