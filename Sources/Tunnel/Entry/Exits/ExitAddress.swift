//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// What decides whether two requests share a session: the exit, the relays by which it is reached, and the isolation that
/// the client asked for.
struct ExitAddress: Hashable {
    let publicKey: PublicKey
    let relays: [RelayURL]
    var isolation: [UInt8] = []
}
