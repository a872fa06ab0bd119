//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient

/// Verifies events of authors that this node does not know, and handles each of them once.
///
/// An id is remembered only after its signature was verified. Packets of a session do not pass here, see
/// ``SessionDriver``.
final class EventVerifier {
    private var seen = EventDeduplicator()
    private let metrics: TunnelMetrics
    private let logger: Logger

    init(metrics: TunnelMetrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    /// Whether the event was admitted before. Several relays deliver the same event.
    func hasAdmitted(_ event: Event) -> Bool { self.seen.contains(event.id) }

    /// Whether the event is new and its id and signature are valid.
    func admit(_ event: Event) -> Bool {
        guard !self.seen.contains(event.id) else {
            self.metrics.rejected(.duplicate)
            return false
        }
        guard self.verify(event) else { return false }
        return self.seen.insert(event.id)
    }

    /// Whether the event's id and signature are valid.
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
}
