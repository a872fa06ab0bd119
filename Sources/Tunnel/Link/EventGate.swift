//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient
import NostrCrypto

/// What an event from a relay passes before its content is touched: recipient, author, duplicate, id, signature.
///
/// The cheap checks come first, and an id is remembered only after its signature verified. Of a session's packets only
/// recipient and author are looked at here. They are sealed between two keys that nobody else has, so opening one proves
/// who wrote it, and what a relay could change around it (date, tags, id) is not used; they have numbers, so a repeated
/// one is found by its own. Their signatures are for the relays.
struct EventGate {
    private var deduplicator = EventDeduplicator()
    private let metrics: TunnelMetrics
    private let logger: Logger

    init(metrics: TunnelMetrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    /// The recipient of a kind 28333 event; nil if it has none.
    func recipient(of event: Event) -> PublicKey? {
        guard event.kind == .tunnelMessage else {
            self.metrics.rejected(.wrongKind)
            return nil
        }
        guard let value = event.firstValue(of: "p"), let bytes = Bytes32(lowercaseHex: value.bytes.span),
            value.bytes.count == 64
        else {
            self.metrics.rejected(.wrongRecipient)
            return nil
        }
        return PublicKey(unchecked: bytes)
    }

    /// Whether the event was here before, as several relays deliver it.
    func isKnown(_ event: Event) -> Bool { self.deduplicator.contains(event.id) }

    /// Whether the event is what it claims to be.
    private func verify(_ event: Event) -> Bool {
        do {
            try event.verify()
            return true
        } catch {
            self.metrics.rejected(error == .idMismatch ? .invalidID : .invalidSignature)
            self.logger.debug("event dropped", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// Whether the event is new and what it claims to be.
    mutating func admit(_ event: Event) -> Bool {
        guard !self.deduplicator.contains(event.id) else {
            self.metrics.rejected(.duplicate)
            return false
        }
        guard self.verify(event) else { return false }
        return self.deduplicator.insert(event.id)
    }
}
