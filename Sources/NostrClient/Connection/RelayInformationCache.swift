//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr

/// Remembers what relays said, for several connections to a relay: their information documents (NIP-11) for a short time, and
/// until when they refuse further connections.
///
/// Use it only for connections that the relay can link anyway, by their source address. Otherwise the relay could send
/// different limits to each connection, and recognize the node by the limits that it obeys. All methods must be called
/// on one event loop.
final class RelayInformationCache {
    /// How long a document may be used for other connections.
    static let validity: TimeAmount = .seconds(60)
    /// Maximum number of relays of which a document, or a refusal, is remembered.
    static let maximumRelays = 256

    struct Known {
        let information: RelayInformation
        /// The relay's clock. Nil if the relay did not report its time.
        let clock: RelayClock?
        fileprivate let at: NIODeadline
    }

    private var relays: [RelayURL: Known] = [:]
    private var refusals: [RelayURL: Refusal] = [:]

    /// Until when a relay refuses further connections, and why.
    struct Refusal {
        let until: NIODeadline
        let reason: String
    }

    /// Returns how a relay refuses connections at this time. Nil if it does not.
    func refusal(of url: RelayURL, at now: NIODeadline) -> Refusal? {
        self.refusals[url].flatMap { $0.until > now ? $0 : nil }
    }

    /// Records that a relay refuses further connections for a while.
    func note(_ refusal: Refusal, of url: RelayURL, at now: NIODeadline) {
        if self.refusals[url] == nil, self.refusals.count >= Self.maximumRelays {
            self.refusals = self.refusals.filter { $0.value.until > now }
            if self.refusals.count >= Self.maximumRelays { self.refusals = [:] }
        }
        self.refusals[url] = refusal
    }

    /// Number of cached documents.
    var count: Int { self.relays.count }

    func known(of url: RelayURL, at now: NIODeadline) -> Known? {
        guard let known = self.relays[url] else { return nil }
        guard now - known.at < Self.validity else {
            self.relays[url] = nil
            return nil
        }
        return known
    }

    func note(_ information: RelayInformation, clock: RelayClock?, of url: RelayURL, at now: NIODeadline) {
        if self.relays[url] == nil, self.relays.count >= Self.maximumRelays {
            self.relays = self.relays.filter { now - $0.value.at < Self.validity }
            // All documents are recent. Drop them; the next connections request them again.
            if self.relays.count >= Self.maximumRelays { self.relays = [:] }
        }
        self.relays[url] = Known(information: information, clock: clock, at: now)
    }

    func forget(_ url: RelayURL) {
        self.relays[url] = nil
    }
}
