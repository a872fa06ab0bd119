//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// Determines the dates of messages, by which relays may sort them.
struct MessageDates {
    private let isEntry: Bool
    private let deliveryHorizon: TimeAmount
    /// Date of the newest event from the peer.
    private var newestOfPeer: Int64 = 0

    /// - Parameters:
    ///   - isEntry: Whether the messages are sent by an entry.
    ///   - deliveryHorizon: After this time, a message counts as delivered.
    init(isEntry: Bool, deliveryHorizon: TimeAmount) {
        self.isEntry = isEntry
        self.deliveryHorizon = deliveryHorizon
    }

    /// Records the date of an event from the peer.
    mutating func received(_ date: Int64) { self.newestOfPeer = max(self.newestOfPeer, date) }

    /// The date from which messages are counted, at most `ceiling`. A reference entry requests only events since its own
    /// current time, so an exit does not date an answer before the newest event of the entry.
    private func present(_ ceiling: Int64, at now: Moment) -> Int64 {
        self.isEntry ? now.seconds : max(now.seconds, min(self.newestOfPeer, ceiling))
    }

    /// Returns the date of a stream's next data message, or nil if messages in flight must be delivered first.
    ///
    /// Relays that sort a batch by date keep the order of ascending dates. Of messages that may be delivered in one
    /// batch, each is dated at least one second after the previous one, up to a limit. At the limit, everything must
    /// be delivered before dates start again from the current time.
    func next(of stream: inout NIP74Stream, on path: NIP74Path, at now: Moment) -> Int64? {
        let ceiling = now.seconds + path.maximumAhead
        let present = self.present(ceiling, at: now)
        if stream.inFlight.isEmpty, stream.lastMovement + self.deliveryHorizon <= now.monotonic {
            stream.isAtCeiling = false
            return present
        }
        let next = max(present, stream.lastDate + 1)
        guard next <= ceiling, !stream.isAtCeiling else {
            stream.isAtCeiling = true
            return nil
        }
        return next
    }

    /// Returns the date of a message that is not data, after `last`.
    func ofControl(after last: Int64, at now: Moment) -> Int64 {
        let ceiling = now.seconds + Int64(NIP74Configuration.maximumAhead)
        return max(last + 1, self.present(ceiling, at: now))
    }
}
