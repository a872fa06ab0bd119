//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient
import NostrCrypto

/// What every event from a relay passes before its content is touched: recipient, author, duplicate, id, signature.
///
/// The cheap checks come first, and an id is remembered only after its signature verified.
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

    /// Whether the event is what it claims to be, new or not: a session's packets have numbers, and a copy that another
    /// relay delivers first must not shut out the packet itself.
    func verify(_ event: Event) -> Bool {
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
