//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Identifies a message that an engine asked its driver to publish.
package struct MessageToken: Hashable, Sendable {
    /// A number that is unique within the engine.
    package let rawValue: UInt64

    /// Creates a token from its number.
    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

/// The result of publishing a message.
package enum PublishOutcome: Hashable, Sendable {
    /// The relay of this path accepted the message, or did not answer.
    case accepted(PathID)
    /// All relays rejected the message. The value is the reason that the last relay gave.
    case rejected(PublishRejection)
    /// The connection ended before the relay answered.
    case lost
}

/// Why a relay did not accept a message.
package enum PublishRejection: Hashable, Sendable {
    /// The relay limits the rate. The message may be sent again later.
    case rateLimited
    /// The message was not sent, or the relay requires authentication first. It may be sent again after this time.
    case held(TimeAmount)
    /// No client of the relay is subscribed to the receiver's key (`mute:`).
    case noSubscriber
    /// The relay rejected the message for another reason. Sending it again does not help.
    case refused
    /// There is no connection to the relay.
    case unreachable
}
