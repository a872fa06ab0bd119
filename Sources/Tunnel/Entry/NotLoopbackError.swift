//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// The entry would listen on an address that other machines can reach, without being configured to do so.
public struct NotLoopbackError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The address that was configured.
    public let address: String
    public var description: String { "other machines can connect to \(self.address)" }
}
