//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension SessionRefusal {
    /// Refuses an offer or a session query. The refusal is encrypted with a new key, which is used only once.
    static func publish(
        _ reason: StreamEnd,
        to offer: SessionOffer,
        of client: PublicKey,
        by exit: SecretKey,
        on relays: [RelayConnection]
    ) {
        // Nothing of this fails with valid keys.
        guard let sealer = try? MessageSealer(own: .generate(), peer: client),
            let refusal = try? SessionRefusal(
                reason,
                signedBy: exit,
                offerHash: offer.offer.hash(exit: exit.publicKey, client: client, uuid: offer.key),
                fresh: sealer.own.publicKey
            ), let message = try? sealer.seal(refusal.encoded, createdAt: RelayConnection.date(for: relays))
        else { return }
        // The client repeats an offer whose answer is lost.
        for relay in relays where relay.isOpen { message.publish(on: relay) { _ in } }
    }
}
