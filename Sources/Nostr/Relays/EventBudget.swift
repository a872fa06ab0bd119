//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// The maximum rate at which this node sends events to a public relay. It applies even if the relay sets no limit.
public struct EventBudget: Hashable, Sendable {
    /// Number of events per minute. Bursts may be as large.
    public var eventsPerMinute: Int
    /// Maximum plaintext of one event in bytes.
    public static let maximumPlaintext = 16_384

    /// - Parameter eventsPerMinute: At least 1.
    public init(eventsPerMinute: Int) { self.eventsPerMinute = max(1, eventsPerMinute) }

    /// Maximum bytes per second over a longer time.
    public var bytesPerSecond: Int { self.eventsPerMinute * Self.maximumPlaintext / 60 }

    /// Time between two events at the sustained rate.
    package var interval: TimeAmount { .nanoseconds(60_000_000_000 / Int64(self.eventsPerMinute)) }

    /// How far ahead of the sustained rate events may be: a burst, less the event that is to be sent.
    var tolerance: TimeAmount { .nanoseconds(self.interval.nanoseconds * Int64(self.eventsPerMinute - 1)) }
}
