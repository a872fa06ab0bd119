//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrCrypto
import TunnelProtocol

/// The client whose proof an offer contains.
struct KnownClient {
    /// Nil for a client with an invite.
    let identity: PublicKey?
    let credential: Credential
    /// Describes the client in the access list; empty if that is not known.
    let comment: String
    /// Why the client is no longer authorized. It gets a signed refusal, so that it learns this. Nil if it is authorized.
    let refusal: StreamEnd?
    /// Whether the ticket of the proof was used before, by this offer or another one.
    var ticketIsUsed = false

    /// The client, for log messages.
    var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = self.comment.isEmpty ? [:] : ["device": "\(self.comment)"]
        if let identity { metadata["identity"] = "\(identity.npub)" }
        return metadata
    }
}
