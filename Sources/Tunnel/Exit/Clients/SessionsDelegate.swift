//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto
import TunnelProtocol

/// The owner of ``Sessions``. Serves their streams, and keeps the plain link of each offer until the session begins.
protocol SessionsDelegate: AnyObject {
    func sessions(
        _ sessions: Sessions,
        isAskedFor request: StreamRequest,
        as id: StreamID,
        in session: IncomingSession
    ) -> StreamDecision
    /// Records an offer with early data, so that the data is delivered at most once. Returns false if the offer was
    /// recorded before, and nil if it cannot be recorded.
    func sessions(_ sessions: Sessions, admitOnce offer: SessionOffer, of client: PublicKey) -> Bool?
    /// Returns a ticket for the next session of a client that has signed with its identity. Nil if the exit has no access
    /// list.
    func sessions(_ sessions: Sessions, ticketFor identity: PublicKey) -> Bytes32?
    /// Records that an offer uses the ticket with a hint. Returns false if another offer has used it.
    func sessions(_ sessions: Sessions, use ticket: UInt64, by offer: Bytes32) -> Bool
    /// The client has continued an offer, and a stream of the session was admitted.
    func sessions(_ sessions: Sessions, didUse offer: OfferID)
    /// An offer waits for the client's first packet.
    func sessions(_ sessions: Sessions, offerBegan offer: OfferID)
    /// An offer no longer waits: its session has begun, or the offer was discarded.
    func sessions(_ sessions: Sessions, offerEnded offer: OfferID, hasBegun: Bool)
}
