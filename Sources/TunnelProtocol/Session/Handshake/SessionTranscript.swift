//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NostrCrypto

/// The hash of everything that both sides have sent to agree on the keys of a generation. The keys, the exit's signature,
/// the exit's proof and the client's signature are bound to it.
package struct SessionTranscript: Hashable, Sendable {
    package let hash: Bytes32

    private init(_ hash: Bytes32) { self.hash = hash }

    /// The transcript of the handshake.
    ///
    /// - Parameters:
    ///   - offerHash: ``VersionedOffer/hash(exit:client:uuid:)``. It covers the keys of exit and client, and the client's
    ///     encapsulation key.
    ///   - fresh: The exit's session key.
    ///   - body: The body of the acceptance, which contains the ciphertext.
    package init(offerHash: Bytes32, fresh: PublicKey, body: [UInt8]) {
        self.init(offerHash: offerHash, fresh: fresh, bodyHash: .sha256(of: body))
    }

    init(offerHash: Bytes32, fresh: PublicKey, bodyHash: Bytes32) {
        self.init(.tagged("nws/session/1/transcript", [offerHash.bytes, fresh.bytes.bytes, bodyHash.bytes]))
    }

    /// The transcript of a key update.
    ///
    /// - Parameters:
    ///   - client: The client's message.
    ///   - exit: The exit's message without its signature.
    package func updated(client: [UInt8], exit: [UInt8]) -> SessionTranscript {
        SessionTranscript(.tagged("nws/session/1/update", [self.hash.bytes, client, exit]))
    }

    /// What the exit signs with its long-term key.
    package var exitSignedHash: Bytes32 { .tagged("nws/session/1/exit", [self.hash.bytes]) }
    /// What the client signs with its identity.
    package var identitySignedHash: Bytes32 { .tagged("nws/session/1/identity", [self.hash.bytes]) }
    /// What the exit authenticates with the client's credential.
    package var exitProvenMessage: [UInt8] {
        lengthPrefixed([Array("nws/session/1/exit-proof".utf8), self.hash.bytes])
    }
}
