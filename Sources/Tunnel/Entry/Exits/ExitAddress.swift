//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto

/// The key by which requests share a session: the exit, the relays by which it is reached, and the isolation of the
/// request.
struct ExitAddress: Hashable {
    let publicKey: PublicKey
    let relays: [RelayURL]
    var isolation: [UInt8] = []
}
