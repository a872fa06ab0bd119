//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Identifies a message that an engine gave to be published.
public struct MessageToken: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

/// The result of publishing a message.
public enum PublishOutcome: Hashable, Sendable {
    /// The relay of this path accepted the message.
    case accepted(PathID)
    /// No relay accepted it; the reason of the last one.
    case rejected(PublishRejection)
    /// The connection ended before the relay answered.
    case lost
}

/// Why a relay did not accept a message.
public enum PublishRejection: Hashable, Sendable {
    /// The relay limits the rate; the message may be sent again later.
    case rateLimited
    /// No one is subscribed to the receiver's key there.
    case noSubscriber
    /// The relay rejects the message for good.
    case refused
    /// There is no connection to the relay.
    case unreachable
}
