//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension SessionAnswer {
    /// Signs the answer with the exit's key, encrypts it for the client, and publishes it.
    ///
    /// - Parameter offerHash: SHA-256 of the offer's plaintext.
    func publish(
        by exit: SecretKey,
        to offerHash: Bytes32,
        sealedWith sealer: MessageSealer,
        on relays: [RelayConnection]
    ) {
        let body = self.body
        let signed = SessionAnswer.signedHash(
            exit: exit.publicKey,
            client: sealer.peer,
            fresh: sealer.own.publicKey,
            offerHash: offerHash,
            body: body
        )
        // Neither fails with valid keys.
        guard let signature = try? exit.sign(signed),
            let message = try? sealer.seal(body + signature.bytes, createdAt: Moment.now.seconds)
        else { return }
        // A lost acceptance is repeated by a timer, and a lost refusal when the client repeats its offer.
        for relay in relays where relay.isOpen { message.publish(on: relay) { _ in } }
    }

    /// Refuses an offer. The refusal is encrypted with a new key, which is used only once.
    static func refuse(
        _ offer: SessionOffer,
        of client: PublicKey,
        _ reason: StreamEnd,
        by exit: SecretKey,
        on relays: [RelayConnection]
    ) {
        guard let sealer = try? MessageSealer(own: .generate(), peer: client) else { return }
        SessionAnswer.refused(SessionRefusal(key: offer.key, reason: reason))
            .publish(by: exit, to: offer.plaintextHash, sealedWith: sealer, on: relays)
    }
}
