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

    /// What a dialect needs to know of a relay.
    init(url: RelayURL, information: RelayInformation) {
        let limitation = information.limitation
        var room = [limitation.maximumMessageLength, limitation.maximumEventLength].compactMap { $0 }.min() ?? .max
        room = room == .max ? .max : room - Self.eventOverhead
        room = min(room, limitation.maximumContentLength ?? .max)
        self.init(
            relay: url.text,
            maximumPlaintext: Self.largestPlaintext(payload: room),
            createdAtUpperLimit: limitation.createdAtUpperLimit
        )
    }

    /// The largest padded length whose payload fits, none above what a default strfry takes.
    private static func largestPlaintext(payload room: Int) -> Int {
        var best = 32
        var length = 32
        while length <= NIP74Configuration.maximumPlaintext {
            if NIP44.payloadLength(plaintextLength: length) > room { break }
            best = length
            length = NIP44.paddedLength(length + 1)
        }
        return best
    }
}
