//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// Identifies a path to a peer: one relay that both sides use. In a session both sides use the exit's numbers.
public struct PathID: Hashable, Sendable {
    public let rawValue: Int

    public init(rawValue: Int) {
        self.rawValue = rawValue
    }
}

/// What a relay allows on a path.
public struct PathDescription: Hashable, Sendable {
    /// The relay's URL, as messages name it.
    public var relay: String
    /// Plaintext bytes whose event the relay takes, as far as is known.
    public var maximumPlaintext: Int
    /// Plaintext bytes whose event the relay may take: its limit for messages, if it applies to events too.
    public var largestPlaintext: Int
    /// Seconds that `created_at` may lie in the future (NIP-11); nil if the relay does not say.
    public var createdAtUpperLimit: Int?

    public init(relay: String, maximumPlaintext: Int, largestPlaintext: Int? = nil, createdAtUpperLimit: Int?) {
        self.relay = relay
        self.maximumPlaintext = maximumPlaintext
        self.largestPlaintext = largestPlaintext ?? maximumPlaintext
        self.createdAtUpperLimit = createdAtUpperLimit
    }
}

/// Measurements of a path.
public struct PathStatus: Hashable, Sendable {
    public let path: PathID
    /// Smoothed round trip; nil before the first measurement.
    public let roundTrip: TimeAmount?
    /// Packets sent.
    public let sent: UInt64
    /// Packets that were declared lost.
    public let lost: UInt64
}
