//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// What relays said of themselves a moment ago, for connections that a node makes in quick succession.
///
/// Only for connections that the relay can tie together anyway, by the address that they come from: to others it could
/// give documents of their own, and know them again by how they keep to those. Lives on its loop.
final class RelayInformationCache {
    /// How long a document may be used for other connections.
    static let validity: TimeAmount = .seconds(60)
    /// Most relays that are remembered.
    static let maximumRelays = 256

    struct Known {
        let information: RelayInformation
        /// Seconds by which the relay's clock is ahead of this machine's; nil if it does not tell the time.
        let clockOffset: Int64?
        fileprivate let at: NIODeadline
    }

    private var relays: [RelayURL: Known] = [:]

    /// Relays that are remembered.
    var count: Int { self.relays.count }

    func known(of url: RelayURL, at now: NIODeadline) -> Known? {
        guard let known = self.relays[url] else { return nil }
        guard now - known.at < Self.validity else {
            self.relays[url] = nil
            return nil
        }
        return known
    }

    func note(_ information: RelayInformation, clockOffset: Int64?, of url: RelayURL, at now: NIODeadline) {
        if self.relays[url] == nil, self.relays.count >= Self.maximumRelays {
            self.relays = self.relays.filter { now - $0.value.at < Self.validity }
            // All of them new: whoever comes next asks again.
            if self.relays.count >= Self.maximumRelays { self.relays = [:] }
        }
        self.relays[url] = Known(information: information, clockOffset: clockOffset, at: now)
    }

    func forget(_ url: RelayURL) {
        self.relays[url] = nil
    }
}
