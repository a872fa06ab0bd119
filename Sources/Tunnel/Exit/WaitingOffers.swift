//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// Offers of which the client's first packet has not come, oldest first, and the links of NIP-74 that brought them.
struct WaitingOffers {
    private struct Client {
        var offers = 0
        /// While it carries nothing but offers.
        var link: PeerLink?
    }

    private var order: [ExitSession] = []
    private var clients: [PublicKey: Client] = [:]

    var count: Int { self.order.count }
    var oldest: ExitSession? { self.order.first }
    /// The links that are kept for their offers' sake.
    var links: [PeerLink] { self.clients.values.compactMap(\.link) }

    func contains(_ session: ExitSession) -> Bool { self.order.contains { $0 === session } }

    mutating func insert(_ session: ExitSession) {
        self.order.append(session)
        self.clients[session.offer.client, default: Client()].offers += 1
    }

    /// Takes an offer out, if it is there. Returns the link that was kept for it, if no other offer needs it.
    mutating func remove(_ session: ExitSession) -> PeerLink? {
        guard let index = self.order.firstIndex(where: { $0 === session }) else { return nil }
        self.order.remove(at: index)
        let key = session.offer.client
        self.clients[key]?.offers -= 1
        guard let client = self.clients[key], client.offers == 0 else { return nil }
        self.clients[key] = nil
        return client.link
    }

    /// The link by which a client offered a session.
    func link(of client: PublicKey) -> PeerLink? { self.clients[client]?.link }

    /// Keeps a link for its client's offers. False if there is none.
    mutating func hold(_ link: PeerLink) -> Bool {
        guard self.clients[link.peer] != nil else { return false }
        self.clients[link.peer]?.link = link
        return true
    }

    /// The link has streams, and is kept for their sake.
    mutating func release(_ link: PeerLink) {
        if self.clients[link.peer]?.link === link { self.clients[link.peer]?.link = nil }
    }
}
