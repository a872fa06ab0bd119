//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Identifies a stream of one peer.
public struct StreamID: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

extension StreamID: CustomStringConvertible {
    public var description: String { String(self.rawValue) }
}
