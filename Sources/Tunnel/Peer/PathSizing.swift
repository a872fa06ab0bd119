//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension PathDescription {
    /// Space in bytes that an EVENT message needs in addition to the event's content: the other members, with one `p`
    /// tag, and the array around the event.
    private static let eventOverhead = 512

    /// Describes a relay to an engine.
    init(_ relay: RelayConnection) {
        self.init(url: relay.url, information: relay.information, budget: relay.budget)
    }

    /// Describes a relay to an engine.
    ///
    /// - Parameter budget: This node's own limit on what it sends to the relay; nil for none.
    init(url: RelayURL, information: RelayInformation, budget: EventBudget? = nil) {
        let limitation = information.limitation
        let stated = [limitation.maximumMessageLength, limitation.maximumEventLength].compactMap { $0 }.min()
        var room = stated.map { $0 - Self.eventOverhead } ?? .max
        room = min(room, limitation.maximumContentLength ?? .max)
        if budget != nil {
            room = min(room, NIP44.payloadLength(plaintextLength: EventBudget.maximumPlaintext))
        }
        self.init(
            relay: url.text,
            maximumPlaintext: Self.largestPlaintext(payload: room, most: SessionConfiguration.basePacket),
            // A relay that declares no limits may close the connection after a longer message, so do not probe.
            largestPlaintext: stated == nil
                ? nil : Self.largestPlaintext(payload: room, most: SessionConfiguration.largestPacket),
            createdAtUpperLimit: limitation.createdAtUpperLimit,
            budget: budget
        )
    }

    /// Returns the largest padded length, up to `most`, whose payload fits into `room` bytes.
    private static func largestPlaintext(payload room: Int, most: Int) -> Int {
        var best = 32
        var length = 32
        while length < most {
            length = min(most, NIP44.paddedLength(length + 1))
            if NIP44.payloadLength(plaintextLength: length) > room { break }
            best = length
        }
        return best
    }
}
