//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
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
    let link: PeerLink
    let startedAt = NIODeadline.now()
    /// A packet of the client came: it has the acceptance.
    var isEstablished = false
    /// Bytes of the offer's early data that were taken.
    var earlyBytes = 0
    /// How often the acceptance was repeated by the clock.
    var repetitions = 0
    var repetition: Scheduled<Void>?

    init(offer: OfferID, link: PeerLink) {
        self.offer = offer
        self.link = link
    }
}
