//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import Nostr
package import NostrCrypto

/// Identifies a path to a peer: one relay that both sides use. In a session, both sides use the numbers that the exit
/// assigns.
package struct PathID: Hashable, Sendable {
    /// The number of the path.
    package let rawValue: Int

    /// Creates an identifier from a path number.
    package init(rawValue: Int) {
        self.rawValue = rawValue
    }

    /// The direct path of a session. Relays have lower numbers.
    package static let direct = PathID(rawValue: SessionConfiguration.maximumPaths)
}

/// A path's relay and its limits.
package struct PathDescription: Hashable, Sendable {
    /// The relay's URL as it appears in messages.
    package var relay: String
    /// Maximum plaintext length in bytes whose event the relay is expected to accept.
    package var maximumPlaintext: Int
    /// Maximum plaintext length in bytes that a session may probe for. It follows from the limits that the relay
    /// declares (NIP-11), which may not all apply to events.
    package var largestPlaintext: Int
    /// How far in the future `created_at` may be, in seconds (NIP-11). Nil if the relay does not declare a limit.
    package var createdAtUpperLimit: Int?
    /// This node's own limit on what it sends to the relay; nil for none.
    package var budget: EventBudget?
    /// 32 random bytes that determine which packet numbers are skipped (``SkippedNumbers``); nil to skip none.
    package var skippedNumbers: Bytes32?

    /// Creates the description of a direct path.
    ///
    /// - Parameters:
    ///   - packet: The packet size in bytes that the path carries.
    ///   - largest: The packet size in bytes up to which larger packets are tried.
    ///   - skippedNumbers: 32 random bytes that determine which packet numbers are skipped.
    package static func direct(packet: Int, largest: Int, skippedNumbers: Bytes32) -> PathDescription {
        var path = PathDescription(
            relay: "",
            maximumPlaintext: packet,
            largestPlaintext: largest,
            createdAtUpperLimit: nil
        )
        path.skippedNumbers = skippedNumbers
        return path
    }

    /// Creates a description.
    ///
    /// - Parameters:
    ///   - relay: The relay's URL as it appears in messages.
    ///   - maximumPlaintext: Maximum plaintext length in bytes that the relay is expected to accept.
    ///   - largestPlaintext: Maximum plaintext length to probe for; nil for `maximumPlaintext`.
    ///   - createdAtUpperLimit: The relay's limit for future dates in seconds; nil if unknown.
    ///   - budget: This node's own limit on what it sends to the relay; nil for none.
    package init(
        relay: String,
        maximumPlaintext: Int,
        largestPlaintext: Int? = nil,
        createdAtUpperLimit: Int?,
        budget: EventBudget? = nil
    ) {
        self.budget = budget
        self.relay = relay
        self.maximumPlaintext = maximumPlaintext
        self.largestPlaintext = largestPlaintext ?? maximumPlaintext
        self.createdAtUpperLimit = createdAtUpperLimit
    }
}

/// Measurements of a path.
package struct PathStatus: Hashable, Sendable {
    /// The path.
    package let path: PathID
    /// The smoothed round-trip time. Nil before the first measurement.
    package let roundTrip: TimeAmount?
    /// Number of packets sent.
    package let sent: UInt64
    /// Number of packets that were declared lost. Some of them may have arrived later.
    package let lost: UInt64
}
