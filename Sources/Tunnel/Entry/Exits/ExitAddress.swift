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
    /// Whether the exit was found by its announcement. A session with it is not shared with requests that name the exit.
    var isAnnounced = false

    /// Whether the user's identity may be used with the exit. It must neither connect isolated requests nor reach
    /// strangers.
    var allowsIdentity: Bool { self.isolation.isEmpty && !self.isAnnounced }
}
