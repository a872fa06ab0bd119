//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import HTTPTransport
package import NIOCore
package import Nostr

/// The configuration of a relay: its addresses, limits, and the information that it publishes about itself.
package struct RelayConfiguration: Sendable {
    /// Host name or IP address to listen on.
    package var host: String
    /// TCP port to listen on. 0 selects a free port.
    package var port: Int
    /// Name of the relay in its information document (NIP-11).
    package var name = "nws relay"
    /// Description of the relay in its information document (NIP-11).
    package var summary = "A Nostr relay for tunnels"
    /// Limits on messages, connections and stored events.
    package var limits = RelayLimits()
    /// Certificate and key. Nil for `ws://`, for example behind a proxy that terminates TLS.
    package var tls: ServerTLS?
    /// The URL that clients use, if it differs from the listening address, for example behind a proxy.
    ///
    /// AUTH events must name its host and port (NIP-42). If nil, they must name those of the Host header field.
    package var publicURL: RelayURL?
    /// Path of the SQLite file in which events are saved. If nil, events are kept only in memory.
    package var storePath: String?
    /// Proxies whose X-Forwarded-For header field is trusted. See ``HTTPServer/Configuration/trustedProxies``.
    package var trustedProxies: [IPNetwork] = []
    /// Event kinds that the relay accepts; nil for all. Use ``tunnelKinds`` for a relay that only serves tunnels.
    package var acceptedKinds: Set<EventKind>?

    /// Where STUN binding requests are answered.
    package var stun = STUNChoice.off

    /// Where a relay answers STUN binding requests (RFC 8489).
    package enum STUNChoice: Sendable {
        /// Nowhere.
        case off
        /// At the UDP ports with the number of the relay's port, and the next one. If they are not free, nowhere.
        case besideRelay
        /// At UDP addresses, at most ``RelayInformation/maximumSTUNPorts``. If they are not free, the relay does not start.
        case addresses([SocketAddress])
    }

    /// Whether messages of tunnels (kind 28333) are delivered only to subscriptions that name their recipients (`#p`). Only
    /// somebody who records traffic has a use for others. Applies when the relay starts.
    package var deliversTunnelMessagesToRecipientsOnly = true

    /// Creates a configuration with default values.
    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// The event kinds that tunnels use: tunnel messages, exit announcements, certificates, relay lists and deletions.
    package static let tunnelKinds: Set<EventKind> = [
        .tunnelMessage, .exitAnnouncement, .exitCertificate, .exitCertificateKey, .relayList, .deletion,
    ]
}

/// The limits of a relay. Limits that the information document has a field for are published there (NIP-11).
package struct RelayLimits: Sendable {
    /// Maximum size of a WebSocket message from a client, in bytes.
    package var messageLength = 256 << 10
    /// Maximum size of the JSON of an event, in bytes.
    package var eventLength = 128 << 10
    /// Maximum number of subscriptions per connection.
    package var subscriptions = 200
    /// Maximum number of filters in a REQ.
    package var filters = 32
    /// Maximum number of stored events that a filter returns.
    package var resultLimit = 500
    /// Maximum sustained rate of events per connection, per second.
    package var eventsPerSecond = 10_000
    /// Maximum number of events that a connection can send in a burst, after sending nothing for a while.
    package var eventBurst = 20_000
    /// Maximum sustained rate of filters in REQs per connection, per second.
    ///
    /// Bursts may be twice as large, and at least as large as one REQ with the maximum number of filters.
    package var filtersPerSecond = 200
    /// Maximum number of values (ids, authors, kinds, tags) in all filters of a connection.
    package var filterValues = 20_000
    /// Maximum memory of the filters of a connection in bytes: their values, and 64 for each of them.
    package var filterBytes = 2 << 20
    /// Maximum sustained rate of stored events that are examined for the queries of a connection, per second. A query that
    /// examines more takes longer.
    package var examinedEventsPerSecond = 20_000
    /// Maximum number of bytes that wait to be sent to a client. Beyond it the client is disconnected.
    package var outboundBytes = 32 << 20
    /// Maximum number of connections.
    package var connections = 10_000
    /// Maximum number of connections from one address that is not a loopback address.
    package var connectionsPerAddress = 64
    /// How far `created_at` may be in the future, in seconds.
    package var createdAtUpperLimit = 900
    /// Maximum number of stored events. Beyond it those that arrived first are removed.
    package var storedEvents = 20_000
    /// Maximum memory of stored events in bytes: their JSON, plus an estimate for parsed tags. Beyond it those that arrived
    /// first are removed.
    package var storedBytes = 64 << 20
    /// Maximum number of deleted event ids and addresses that are remembered in order to reject these events (NIP-09).
    /// Beyond it the oldest are forgotten.
    package var rememberedDeletions = 20_000
    /// Maximum difference between `created_at` of an AUTH event and the relay's clock, in seconds (NIP-42).
    package var authenticationAge = 600

    /// Creates the default limits.
    package init() {}
}

extension RelayConfiguration {
    /// The relay information document for this configuration (NIP-11).
    package var information: RelayInformation {
        var information = RelayInformation()
        information.name = self.name
        information.description = self.summary
        information.software = "nws"
        information.supportedNIPs = [1, 9, 11, 40, 42, 70]
        information.limitation.maximumMessageLength = self.limits.messageLength
        information.limitation.maximumEventLength = self.limits.eventLength
        information.limitation.maximumSubscriptions = self.limits.subscriptions
        information.limitation.maximumFilters = self.limits.filters
        information.limitation.maximumLimit = self.limits.resultLimit
        information.limitation.defaultLimit = self.limits.resultLimit
        information.limitation.maximumEventTags = Event.maximumTagCount
        information.limitation.maximumSubscriptionIDLength = SubscriptionID.maximumLength
        information.limitation.createdAtUpperLimit = self.limits.createdAtUpperLimit
        information.limitation.maximumEventsPerSecond = self.limits.eventsPerSecond
        information.limitation.maximumOutboundBytes = self.limits.outboundBytes
        information.limitation.maximumConnectionsPerAddress = self.limits.connectionsPerAddress
        information.limitation.authenticationRequired = false
        information.limitation.paymentRequired = false
        information.limitation.restrictedWrites = self.acceptedKinds != nil
        return information
    }
}
