//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NostrCrypto

/// The client that requested a stream.
struct StreamClient {
    let peer: PublicKey
    /// The client's proven identity; nil if it has proven none.
    let identity: PublicKey?
    /// Whether it uses plain NIP-74.
    let isPlain: Bool
    /// Number of streams of its session.
    let sessionStreams: Int
    /// Number of sessions that share the limit on streams.
    let sessions: Int

    /// The key whose limits apply.
    var key: PublicKey { self.identity ?? self.peer }

    /// The client's share of name lookups.
    var lookups: LookupClient { LookupClient(self.key.hex, isKnown: self.identity != nil) }
}
