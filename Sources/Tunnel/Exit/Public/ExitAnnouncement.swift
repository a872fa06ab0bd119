//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
public import Nostr
public import NostrCrypto
public import TunnelProtocol

/// How a public exit makes itself known (kind 38333), and what an entry reads of it.
public struct ExitAnnouncement: Hashable, Sendable {
    /// Seconds for which an announcement holds, and after which it is renewed.
    static let lifetime: Int64 = 600
    static let renewal: TimeAmount = .seconds(240)
    /// Most relays that are read of one.
    private static let maximumRelays = 8

    public let publicKey: PublicKey
    public let relays: [RelayURL]
    /// Seconds since 1970.
    public let createdAt: Int64
    public let expiration: Int64

    /// How the exit is reached.
    public var name: NostrName { NostrName(publicKey: self.publicKey, relays: self.relays) }

    /// An announcement, signed.
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

    /// Takes it back (NIP-09).
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

    /// Reads a verified event; nil if it is none, or over.
    ///
    /// - Parameter relay: Where it was found; exits that name no relays are reached there.
    public init?(_ event: Event, foundOn relay: RelayURL?, now: Int64) {
        guard event.kind == .exitAnnouncement, let text = event.firstValue(of: "expiration")?.text,
            let expiration = Int64(text), expiration > now, event.createdAt <= now + 900
        else { return nil }
        self.publicKey = event.pubkey
        self.createdAt = event.createdAt
        // Nobody is believed for longer than an honest exit asks for.
        self.expiration = min(expiration, event.createdAt + 2 * Self.lifetime)
        guard self.expiration > now else { return nil }
        let named = event.tags.filter { $0.name == "relay" }.prefix(Self.maximumRelays)
            .compactMap { $0.value.flatMap { try? RelayURL($0.text) } }.removingDuplicates()
        self.relays = named.isEmpty ? [relay].compactMap { $0 } : named
    }
}
