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
    private let offer: VersionedOffer
    private let date: Int64

    /// - Parameters:
    ///   - session: The exit's session key.
    ///   - own: The client's session key.
    ///   - parameters: The client's limits.
    ///   - exit: The exit's long-term key.
    ///   - destination: The exit's name.
    ///   - credential: The secret for the proof that the exit knows the client. Nil if the client has none for this exit.
    ///   - date: The date of the query, in seconds since 1970.
    init(
        about session: PublicKey,
        own: SecretKey,
        parameters: SessionParameters,
        exit: PublicKey,
        destination: String,
        credential: Credential?,
        date: Int64
    ) {
        self.key = EntryContext.makeUUID()
        self.own = own
        var offer = EntryContext.makeOffer(OfferTerms(parameters: parameters, purpose: .query(session)))
        if let credential {
            offer.prove(
                with: credential,
                exit: exit,
                client: own.publicKey,
                uuid: self.key,
                at: date
            )
        }
        self.offer = offer
        self.date = date
        self.plaintext = SessionOffer.plaintext(
            offer,
            key: self.key,
            destination: destination,
            isRepetition: true
        )
    }

    /// Returns the query as an event for the exit.
    func sealed(for exit: PublicKey) -> SealedEventMessage? {
        guard let sealer = try? MessageSealer(own: self.own, peer: exit) else { return nil }
        return try? sealer.seal(self.plaintext, createdAt: self.date)
    }

    /// Returns the exit's signed answer in an event. Nil if the event is not a valid answer to this query.
    func answer(in event: Event, of exit: PublicKey) -> SessionAnswer? {
        guard let conversation = try? ConversationKey(secretKey: self.own, publicKey: event.pubkey),
            let plaintext = try? conversation.open(Array(event.content.readableBytesView)),
            let answer = SessionAnswer(plaintext: plaintext),
            answer.isSigned(
                by: exit,
                offerHash: self.offer.hash(exit: exit, client: self.own.publicKey, uuid: self.key),
                fresh: event.pubkey
            )
        else { return nil }
        return answer
    }
}
