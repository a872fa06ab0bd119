//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// A client that uses plain NIP-74, or offers a session with it (exit).
final class PlainClient {
    let link: PlainLink
    /// Whether the client has sent more than the message that made it known.
    var isUsed = false
    private var seen = EventDeduplicator(capacity: 8_192)

    init(_ link: PlainLink) {
        self.link = link
    }

    var key: PublicKey { self.link.peer }

    /// Processes a verified event. Each client has its own list of received events, so that other clients cannot
    /// displace its entries and make the exit process an event twice.
    func receive(_ event: Event, for key: PublicKey, path: PathID, metrics: TunnelMetrics) {
        guard self.seen.insert(event.id) else { return metrics.rejected(.duplicate) }
        guard let message = self.link.open(event, recipient: key) else { return }
        self.link.receive(message, path: path)
    }
}
