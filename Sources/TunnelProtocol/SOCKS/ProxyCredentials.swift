//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A user name and password of a proxy client (RFC 1929).
public struct ProxyCredentials: Hashable, Sendable {
    /// The user name as the client sent it.
    public let user: [UInt8]
    /// The password as the client sent it. Empty for SOCKS4, which has none.
    public let password: [UInt8]

    /// Creates credentials.
    public init(user: [UInt8], password: [UInt8]) {
        self.user = user
        self.password = password
    }

    /// Returns whether both are equal. The duration does not reveal at which byte they differ.
    public func matches(_ other: ProxyCredentials) -> Bool {
        func difference(_ left: [UInt8], _ right: [UInt8]) -> UInt8 {
            var difference: UInt8 = left.count == right.count ? 0 : 1
            for index in 0..<min(left.count, right.count) { difference |= left[index] ^ right[index] }
            return difference
        }
        return difference(self.user, other.user) | difference(self.password, other.password) == 0
    }
}

extension ProxyCredentials: CustomStringConvertible, CustomReflectable {
    public var description: String { "<redacted>" }
    /// Shows no properties, so that a dump does not contain the password.
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
