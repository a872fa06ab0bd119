//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// The client that asked for a stream.
struct StreamClient {
    let peer: PublicKey
    /// Its proven identity.
    let identity: PublicKey?
    /// Whether it speaks plain NIP-74.
    let isPlain: Bool
    /// Streams that its session has.
    let sessionStreams: Int
    /// Sessions that share the limit of streams.
    let sessions: Int

    /// The key whose limits apply.
    var key: PublicKey { self.identity ?? self.peer }
}
