//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A session that an entry offers with its first CONNECT.
public struct OutgoingOffer: Hashable, Sendable {
    /// The stream's UUID.
    public var key: String
    public var terms: SessionOffer.Terms
    /// Whether the entry continues in plain NIP-74 with an exit that does not accept.
    public var mayFallBack: Bool

    public init(key: String, terms: SessionOffer.Terms, mayFallBack: Bool) {
        self.key = key
        self.terms = terms
        self.mayFallBack = mayFallBack
    }
}
