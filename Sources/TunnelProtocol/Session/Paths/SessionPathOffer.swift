//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A relay that an exit adds to a running session.
public struct SessionPathOffer: Hashable, Sendable {
    /// The number that both sides use for the path.
    public var path: PathID
    /// The relay's URL, as clients reach it.
    public var relay: String

    public init(path: PathID, relay: String) {
        self.path = path
        self.relay = relay
    }
}
