//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import TunnelProtocol

/// The exit's part of the handshake: the answer to an offer, and the keys that result from it.
///
/// All copies of the answer have the same signed body, and so the same keys.
struct AcceptedOffer {
    let hash: Bytes32
    /// Encrypts the packets of the session.
    let sealer: MessageSealer
    let exchange: SessionKeyExchange
    /// Encrypts the acceptance.
    private let answers: MessageSealer
    private let terms: AcceptanceTerms
    private let body: [UInt8]
    private let signature: SchnorrSignature
    private let proof: Bytes32?

    /// What the exit grants, without the ciphertext.
    struct Grant {
        var parameters: SessionParameters
        /// The URLs of the relays, by path number.
        var relays: [String]
        /// Number of bytes of the opening that the exit takes. Nil if it does not open the stream.
        var openedBytes: UInt64?
        var wantsIdentity: Bool
    }

    /// - Parameters:
    ///   - offer: The offer.
    ///   - encapsulated: A secret for the client's ML-KEM-768 key.
    ///   - client: The client's session key.
    ///   - key: The exit's fresh session key.
    ///   - exit: The exit's long-term key.
    ///   - grant: What the exit grants.
    ///   - credential: The credential of the offer's proof.
    /// - Throws: If the client's session key is invalid.
    init(
        _ offer: SessionOffer,
        encapsulated: KeyEncapsulation.Result,
        client: PublicKey,
        key: SecretKey,
        exit: SecretKey,
        grant: Grant,
        credential: Credential?
    ) throws(CryptoError) {
        self.answers = try MessageSealer(own: key, peer: client)
        self.terms = AcceptanceTerms(
            parameters: grant.parameters,
            ciphertext: encapsulated.ciphertext,
            relays: grant.relays,
            openedBytes: grant.openedBytes,
            wantsIdentity: grant.wantsIdentity
        )
        self.body = self.terms.encoded
        self.hash = offer.offer.hash(exit: exit.publicKey, client: client, uuid: offer.key)
        let transcript = SessionTranscript(offerHash: self.hash, fresh: key.publicKey, body: self.body)
        self.signature = try exit.sign(transcript.exitSignedHash)
        self.proof = credential?.proof(of: transcript.exitProvenMessage)
        let secrets = SessionSecrets(
            agreement: self.answers.conversation,
            encapsulated: encapsulated.secret,
            previous: nil,
            transcript: transcript.hash
        )
        self.sealer = MessageSealer(session: self.answers, secrets: secrets, isExit: true)
        self.exchange = SessionKeyExchange(.exit(exit), secrets: secrets, transcript: transcript)
    }

    /// The URLs of the relays in the acceptance, by path number.
    var relays: [String] { self.terms.relays }

    /// Returns the copy of the acceptance for a path, encrypted and signed.
    func acceptance(on path: PathID, createdAt: Int64) throws -> SealedEventMessage {
        let acceptance = SessionAcceptance(
            path: path,
            terms: self.terms,
            body: self.body,
            signature: self.signature,
            proof: self.proof
        )
        return try self.answers.seal(acceptance.encoded, createdAt: createdAt)
    }
}
