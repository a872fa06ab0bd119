//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import Nostr

/// A relay that this node runs itself, so that a session may pass by nobody else. It is one path among the others: taken
/// because it is faster, lost without harm.
public struct DirectRelay: Hashable, Sendable {
    /// Where this node reaches it.
    public var own: RelayURL
    /// Where the peer reaches it. Whoever learns it learns this node's address.
    public var offered: RelayURL

    public init(own: RelayURL, offered: RelayURL) {
        self.own = own
        self.offered = offered
    }
}
