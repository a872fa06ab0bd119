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
    /// Whether the user's identity may be used. It must neither connect requests that are isolated from each other, nor
    /// reach exits that were found by an announcement.
    var allowsIdentity = true
}
