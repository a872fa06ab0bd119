//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// A user and a password (RFC 1929).
public struct ProxyCredentials: Hashable, Sendable {
    public let user: [UInt8]
    public let password: [UInt8]

    public init(user: [UInt8], password: [UInt8]) {
        self.user = user
        self.password = password
    }

    /// Compares in a time that does not tell where the difference is.
    public func matches(_ other: ProxyCredentials) -> Bool {
        func difference(_ left: [UInt8], _ right: [UInt8]) -> UInt8 {
            var difference: UInt8 = left.count == right.count ? 0 : 1
            for index in 0..<min(left.count, right.count) { difference |= left[index] ^ right[index] }
            return difference
        }
        return difference(self.user, other.user) | difference(self.password, other.password) == 0
    }
}
