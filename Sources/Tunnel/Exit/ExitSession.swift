//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient
import NostrCrypto
import TunnelProtocol

/// A session at its exit, from the offer on.
final class ExitSession {
    /// What tells an offer from all others.
    struct OfferID: Hashable {
        let client: PublicKey
        /// The UUID of CONNECT.
        let key: String
    }

    let offer: OfferID
    /// The exit's first key of the session.
    let fresh: PublicKey
    let link: PeerLink
    let startedAt = NIODeadline.now()
    /// When the acceptance went out last.
    var acceptedAt = NIODeadline.now()
    /// A packet of the client came: it has the acceptance.
    var isEstablished = false
    /// Bytes of the offer's early data that were taken.
    var earlyBytes = 0
    /// The offer, for each path whose relay does not know the session's key yet.
    var unanswered: [PathID: SessionOffer] = [:]
    /// SHA-256 of the bodies of the acceptances that went out, one for each path.
    var acceptanceHashes: Set<Bytes32> = []
    /// What the client opened: ports of services, and nil for the internet or no port.
    var usedPorts: Set<UInt16?> = []
    /// How often the acceptance was repeated by the clock.
    var repetitions = 0
    var repetition: Scheduled<Void>?
    /// Whether the client was told of the relay that this node runs.
    var knowsDirectRelay = false
    /// Relays that the client named and that are dialled for it.
    var clientRelays: [PathID: RelayPool.Key] = [:]
    /// Relays that the client named before it said who it is; no more than it may have.
    var offeredRelays: [SessionPathOffer] = []

    init(offer: OfferID, fresh: PublicKey, link: PeerLink) {
        self.fresh = fresh
        self.offer = offer
        self.link = link
    }
}
