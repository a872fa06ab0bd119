//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
package import Nostr
package import NostrCrypto
package import TunnelProtocol

/// The announcement of a public exit on its relays (kind 38333).
package struct ExitAnnouncement: Hashable, Sendable {
    /// Time in seconds until an announcement expires, and the interval at which it is renewed.
    static let lifetime: Int64 = 600
    static let renewal: TimeAmount = .seconds(240)
    /// Maximum number of relays in an announcement.
    private static let maximumRelays = 8

    package let publicKey: PublicKey
    package let relays: [RelayURL]
    /// Seconds since 1970.
    package let createdAt: Int64
    package let expiration: Int64

    /// The exit's name.
    package var name: NostrName { NostrName(publicKey: self.publicKey, relays: self.relays) }

    /// Creates a signed announcement.
    static func event(by key: SecretKey, relays: [RelayURL], createdAt: Int64) throws -> Event {
        try Event.signed(
            by: key,
            createdAt: createdAt,
            kind: .exitAnnouncement,
            tags: [Tag("d", ""), Tag("expiration", ByteString("\(createdAt + Self.lifetime)"))]
                + relays.prefix(Self.maximumRelays).map { Tag("relay", ByteString($0.text)) },
            content: ByteBuffer()
        )
    }

    /// Creates the signed deletion of an announcement (NIP-09).
    static func withdrawal(by key: SecretKey, createdAt: Int64) throws -> Event {
        let address = "\(EventKind.exitAnnouncement.rawValue):\(key.publicKey.hex):"
        return try Event.signed(
            by: key,
            createdAt: createdAt,
            kind: .deletion,
            tags: [Tag("a", ByteString(address)), Tag("k", ByteString("\(EventKind.exitAnnouncement.rawValue)"))],
            content: ByteBuffer()
        )
    }

    /// Parses a verified event. Nil if it is not an announcement, has expired, or is dated more than 15 minutes in the
    /// future.
    ///
    /// - Parameters:
    ///   - relay: The relay on which the event was found. It is used if the announcement contains no relays.
    ///   - now: Seconds since 1970.
    package init?(_ event: Event, foundOn relay: RelayURL?, now: Int64) {
        guard event.kind == .exitAnnouncement, let text = event.firstValue(of: "expiration")?.text,
            let expiration = Int64(text), expiration > now, event.createdAt <= now + 900
        else { return nil }
        self.publicKey = event.pubkey
        self.createdAt = event.createdAt
        // Limit the lifetime to twice the lifetime that this program uses.
        self.expiration = min(expiration, event.createdAt + 2 * Self.lifetime)
        guard self.expiration > now else { return nil }
        let named = event.tags.filter { $0.name == "relay" }.prefix(Self.maximumRelays)
            .compactMap { $0.value.flatMap { try? RelayURL($0.text) } }.removingDuplicates()
        self.relays = named.isEmpty ? [relay].compactMap { $0 } : named
    }
}
