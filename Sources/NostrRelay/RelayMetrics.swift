//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics

/// The counters of a relay.
struct RelayMetrics: Sendable {
    let connections = Counter(label: "nws_relay_connections_total")
    let messages = Counter(label: "nws_relay_messages_total")
    let receivedBytes = Counter(label: "nws_relay_received_bytes_total")
    let sentBytes = Counter(label: "nws_relay_sent_bytes_total")
    let eventsAccepted = Counter(label: "nws_relay_events_accepted_total")
    let eventsDelivered = Counter(label: "nws_relay_events_delivered_total")
    let slowReaders = Counter(label: "nws_relay_slow_readers_disconnected_total")
    let stunRequests = Counter(label: "nws_relay_stun_requests_total")
    let authentications = Counter(label: "nws_relay_authentications_total")

    /// Why a message, an event or a subscription was rejected. The raw value is the `reason` label of the metric.
    enum Rejection: String, CaseIterable {
        case malformedMessage = "malformed_message"
        case malformedEvent = "malformed_event"
        case invalidID = "invalid_id"
        case invalidSignature = "invalid_signature"
        case eventTooLong = "event_too_long"
        case rateLimited = "rate_limited"
        case kindNotAccepted = "kind_not_accepted"
        case createdAt = "created_at"
        case expired
        case protected
        case deleted
        case archiveBehind = "archive_behind"
        case storeFull = "store_full"
        case subscriptionLimit = "subscription_limit"
        case costlySubscription = "costly_subscription"
        case invalidFilter = "invalid_filter"
        case invalidAuthentication = "invalid_authentication"
        case malformedSTUN = "malformed_stun"
        case stunRateLimited = "stun_rate_limited"
    }

    private let rejections: [Rejection: Counter]

    init() {
        self.rejections = Dictionary(
            uniqueKeysWithValues: Rejection.allCases.map {
                ($0, Counter(label: "nws_relay_rejections_total", dimensions: [("reason", $0.rawValue)]))
            }
        )
    }

    func rejected(_ reason: Rejection) {
        self.rejections[reason]?.increment()
    }
}
