//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient

/// Verifies the IDs and signatures of events, and rejects repeated events.
///
/// An event ID is stored only after the signature was verified. Packets of a session are not verified here, see
/// ``SessionDriver``.
final class EventVerifier {
    private var seen = EventDeduplicator()
    private let metrics: TunnelMetrics
    private let logger: Logger

    init(metrics: TunnelMetrics, logger: Logger) {
        self.metrics = metrics
        self.logger = logger
    }

    /// Returns whether the event was admitted before. Several relays may deliver the same event.
    func hasAdmitted(_ event: Event) -> Bool { self.seen.contains(event.id) }

    /// Returns whether the event is new and its ID and signature are valid. Counts other events as rejected.
    func admit(_ event: Event) -> Bool {
        guard !self.seen.contains(event.id) else {
            self.metrics.rejected(.duplicate)
            return false
        }
        guard self.verify(event) else { return false }
        return self.seen.insert(event.id)
    }

    /// Returns whether the event's ID and signature are valid. Counts other events as rejected.
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
