//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrCrypto
import TunnelProtocol

/// A query to an exit's long-term key whether the exit still knows a session. An exit that does not know the session
/// rejects the query. An exit that knows it does not answer the query, but sends packets of the session.
struct SessionQuery {
    /// Identifies the query in its answer.
    let key: String
    let own: SecretKey
    private let plaintext: [UInt8]

    /// - Parameter credential: The secret for the proof that the exit knows the client. Nil if the client has none for this exit.
    init(
        own: SecretKey,
        terms: SessionOffer.Terms,
        exit: PublicKey,
        destination: String,
        credential: Credential?
    ) {
        self.key = EntryContext.makeUUID()
        self.own = own
        var terms = terms
        if let credential {
            terms.prove(
                with: credential,
                exit: exit,
                client: own.publicKey,
                uuid: self.key,
                at: Moment.now.seconds
            )
        }
        self.plaintext = SessionOffer.plaintext(
            terms,
            key: self.key,
            destination: destination,
            isRepetition: true
        )
    }

    /// Returns the query as an event for the exit.
    func sealed(for exit: PublicKey) -> SealedMessage? {
        guard let sealer = try? MessageSealer(own: self.own, peer: exit) else { return nil }
        return try? sealer.seal(self.plaintext, createdAt: Moment.now.seconds)
    }

    /// Returns the exit's signed answer in an event. Nil if the event is not a valid answer to this query.
    func answer(in event: Event, of exit: PublicKey) -> SessionAnswer? {
        guard let conversation = try? ConversationKey(secretKey: self.own, publicKey: event.pubkey),
            let plaintext = try? conversation.open(Array(event.content.readableBytesView)),
            let verified = SessionAnswer.verified(
                plaintext,
                exit: exit,
                client: self.own.publicKey,
                fresh: event.pubkey,
                offerHashes: [Bytes32.sha256(of: self.plaintext)]
            ), verified.answer.key == self.key
        else { return nil }
        return verified.answer
    }
}
