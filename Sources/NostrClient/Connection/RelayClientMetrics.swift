//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics

/// The counters of connections to relays.
struct RelayClientMetrics: Sendable {
    let connects = Counter(label: "nws_client_connects_total")
    let disconnects = Counter(label: "nws_client_disconnects_total")
    let published = Counter(label: "nws_client_events_published_total")
    let received = Counter(label: "nws_client_events_received_total")
    /// Events of another kind than 28333, without a valid `p` tag, or for a key without a subscriber.
    let misdirected = Counter(label: "nws_client_events_misdirected_total")
    let notices = Counter(label: "nws_client_notices_total")
    let malformed = Counter(label: "nws_client_messages_malformed_total")
    let rejected = Counter(label: "nws_client_publishes_rejected_total")
    /// Events that were not sent because the relay limits their rate.
    let held = Counter(label: "nws_client_publishes_held_total")
    let unanswered = Counter(label: "nws_client_publishes_unanswered_total")
}
