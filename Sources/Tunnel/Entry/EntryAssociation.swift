//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// What makes two requests share a client key: the exit and the relays by which it is reached.
struct ExitAddress: Hashable {
    let publicKey: PublicKey
    let relays: [RelayURL]
}

/// An exit that is talked to, under one client key.
final class EntryAssociation {
    let address: ExitAddress
    let link: PeerLink
    /// Where ``PathID`` points into.
    var relays: [RelayPool.Key] = []
    /// Paths on which answers are heard.
    var ready: Set<PathID> = []
    var waiting: [WaitingRequest] = []
    /// Until then relays that are still connecting are waited for.
    let gatheringDeadline: NIODeadline
    /// Configured relays that were asked for the exit's list and have not answered.
    var listQuestions = 0
    /// Relays of that list: where the exit says that it reads.
    var listed: Set<PathID> = []
    /// Until then a listed relay is waited for, though another is ready.
    var listedDeadline: NIODeadline?

    init(address: ExitAddress, link: PeerLink, gatheringDeadline: NIODeadline) {
        self.address = address
        self.link = link
        self.gatheringDeadline = gatheringDeadline
    }
}

/// A request that waits for a path.
struct WaitingRequest {
    let number: UInt64
    let port: UInt16
    let endpoint: any StreamEndpoint
    let completion: (Result<(PeerLink, StreamID), EntryError>) -> Void
}
