//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Refuses offers of sessions, and logs why.
struct OfferRefusals {
    let context: ExitContext

    /// Refuses an offer on the relay by which it arrived, or on all relays if that one is not connected.
    func refuse(
        _ offer: SessionOffer,
        of client: PublicKey,
        _ reason: StreamEnd,
        on arrival: RelayConnection?,
        among relays: NumberedRelays
    ) {
        self.context.metrics.refusedSession(reason)
        let open = arrival.flatMap { $0.isOpen ? [$0] : nil }
        SessionRefusal.publish(
            reason,
            to: offer,
            of: client,
            by: self.context.configuration.secretKey,
            on: open ?? relays.all.map(\.relay)
        )
    }

    /// Logs that a client which the access list names, or named, was refused.
    func log(_ reason: StreamEnd, of client: KnownClient) {
        let message: Logger.Message =
            switch (reason, client.identity) {
            case (.revoked, nil): "invite refused: it was used or revoked"
            case (.expired, nil): "invite refused: it has expired"
            case (.revoked, _): "device refused: its access was revoked"
            case (.expired, _): "device refused: its access has expired"
            default: "device refused: \(reason)"
            }
        self.context.logLimited(.warning, message, client.metadata)
    }
}
