//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// A client that speaks plain NIP-74 or offers a session with it (exit).
final class PlainClient {
    let link: PlainLink
    private var seen = EventDeduplicator(capacity: 8_192)

    init(_ link: PlainLink) {
        self.link = link
    }

    var key: PublicKey { self.link.peer }

    /// Takes a verified event. Each event counts once here, whatever other clients make the exit remember.
    func receive(_ event: Event, for key: PublicKey, path: PathID, metrics: TunnelMetrics) {
        guard self.seen.insert(event.id) else { return metrics.rejected(.duplicate) }
        guard let message = self.link.open(event, recipient: key) else { return }
        self.link.receive(message, path: path)
    }
}
