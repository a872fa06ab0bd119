//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A relay that an exit adds to an established session (NEW_PATH).
package struct SessionPathOffer: Hashable, Sendable {
    /// The number of the path, assigned by the exit.
    package var path: PathID
    /// The URL by which clients reach the relay.
    package var relay: String

    /// Creates an offer.
    package init(path: PathID, relay: String) {
        self.path = path
        self.relay = relay
    }
}
