//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NostrCrypto

/// The client whose proof an offer contains.
struct KnownClient {
    let identity: PublicKey
    let credential: Credential
    /// Whether the identity is in the access list and has not expired. If not, the client gets a signed refusal, so that
    /// it learns why.
    let isAuthorized: Bool
}
