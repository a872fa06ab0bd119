//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A session that an entry offers in a CONNECT.
package struct OutgoingOffer: Hashable, Sendable {
    /// The UUID of the CONNECT.
    package var key: String
    /// The encoded offer.
    package var offer: VersionedOffer
    /// Whether the entry continues with plain NIP-74 if the exit does not accept the offer.
    package var mayFallBack: Bool

    /// Creates an offer.
    package init(key: String, offer: VersionedOffer, mayFallBack: Bool) {
        self.key = key
        self.offer = offer
        self.mayFallBack = mayFallBack
    }
}
