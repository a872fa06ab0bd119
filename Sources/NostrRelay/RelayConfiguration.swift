//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import HTTPTransport
public import Nostr

/// What a relay accepts, holds and says of itself.
public struct RelayConfiguration: Sendable {
    /// Name or address to listen on.
    public var host: String
    /// 0 takes a free one.
    public var port: Int
    /// For people (NIP-11).
    public var name = "nws relay"
    /// For people (NIP-11).
    public var summary = "A Nostr relay for tunnels"
    public var limits = RelayLimits()
    /// Certificate and key; nil for `ws://`, behind a proxy that ends TLS for instance.
    public var tls: ServerTLS?
    /// The address by which clients know the relay, where that is another than it sees itself (NIP-42).
    public var publicURL: RelayURL?
    /// File that keeps events over a restart; nil for memory alone.
    public var storePath: String?
    /// Proxies in front whose word is taken for who their clients are.
    public var trustedProxies: [IPNetwork] = []
    /// Nil: every kind. ``tunnelKinds`` for a relay that carries tunnels and nothing else.
    public var acceptedKinds: Set<EventKind>?

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// What tunnels need: messages, announcements, certificates, relay lists and deletions.
    public static let tunnelKinds: Set<EventKind> = [
        .tunnelMessage, .exitAnnouncement, .exitCertificate, .exitCertificateKey, .relayList, .deletion,
    ]
}

/// The bounds of a relay. All that can be told in NIP-11 is.
public struct RelayLimits: Sendable {
    /// Bytes of one message, from `[` to `]`.
    public var messageLength = 256 << 10
    /// Bytes of one event's JSON.
    public var eventLength = 128 << 10
    /// Subscriptions of one connection.
    public var subscriptions = 200
    /// Filters of one REQ.
    public var filters = 32
    /// Stored events that one filter returns at most.
    public var resultLimit = 500
    /// Events a second of one connection, sustained.
    public var eventsPerSecond = 10_000
    /// Events of one connection beyond the sustained rate.
    public var eventBurst = 20_000
    /// Filters of REQs a second of one connection, sustained; twice as many at once, and at least one REQ's.
    public var filtersPerSecond = 200
    /// Values (ids, authors, kinds, tags) of all filters of one connection.
    public var filterValues = 20_000
    /// Bytes that wait for a slow reader before it is disconnected.
    public var outboundBytes = 32 << 20
    /// Connections in all.
    public var connections = 10_000
    /// Connections of one address other than loopback.
    public var connectionsPerAddress = 64
    /// Seconds into the future that `created_at` may lie.
    public var createdAtUpperLimit = 900
    /// Events kept in memory; beyond it the oldest go.
    public var storedEvents = 20_000
    /// Bytes of events kept in memory; beyond it the oldest go.
    public var storedBytes = 64 << 20
    /// Deletion requests remembered, to refuse what they deleted; beyond it the oldest are forgotten.
    public var rememberedDeletions = 20_000
    /// Age of an AUTH event either way, in seconds (NIP-42).
    public var authenticationAge = 600

    public init() {}
}

extension RelayConfiguration {
    /// The document that tells all this (NIP-11).
    public var information: RelayInformation {
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
