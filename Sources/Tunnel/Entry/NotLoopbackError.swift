//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The entry is configured to listen on an address that other machines can reach, but
/// ``EntryConfiguration/allowsRemoteClients`` is false.
public struct NotLoopbackError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The configured address.
    public let address: String
    public var description: String { "other machines can connect to \(self.address)" }
}
