//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// One more relay for a session that is under way.
public struct SessionPathOffer: Hashable, Sendable {
    /// The number that both ends use for it.
    public var path: PathID
    /// Its URL as the peer of whoever offers it is to dial it.
    public var relay: String
    /// Whether the one who offers runs the relay itself, so that it sees who connects.
    public var isDirect: Bool

    public init(path: PathID, relay: String, isDirect: Bool) {
        self.path = path
        self.relay = relay
        self.isDirect = isDirect
    }

    /// Whether `path` is a number that the client gives, and not the exit.
    public static func isClients(_ path: PathID) -> Bool {
        path.rawValue >= SessionConfiguration.maximumPaths - SessionConfiguration.clientPaths
    }
}
