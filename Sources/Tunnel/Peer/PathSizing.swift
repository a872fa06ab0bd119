//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrCrypto
import TunnelProtocol

extension PathDescription {
    /// Bytes of an event's JSON beside its content: the members with one `p` tag, and the EVENT around it.
    private static let eventOverhead = 512

    /// What an engine needs to know about a relay.
    init(url: RelayURL, information: RelayInformation) {
        let limitation = information.limitation
        let stated = [limitation.maximumMessageLength, limitation.maximumEventLength].compactMap { $0 }.min()
        var room = stated.map { $0 - Self.eventOverhead } ?? .max
        room = min(room, limitation.maximumContentLength ?? .max)
        self.init(
            relay: url.text,
            maximumPlaintext: Self.largestPlaintext(payload: room, most: SessionConfiguration.basePacket),
            // A relay that declares no limits may close the connection after a longer message, so do not probe.
            largestPlaintext: stated == nil
                ? nil : Self.largestPlaintext(payload: room, most: SessionConfiguration.largestPacket),
            createdAtUpperLimit: limitation.createdAtUpperLimit
        )
    }

    /// The largest padded length whose payload fits, or `most`.
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
