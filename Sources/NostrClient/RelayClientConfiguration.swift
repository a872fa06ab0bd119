//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import HTTPTransport
public import NIOCore
public import NIOSSL
public import Nostr

/// Limits and timers of connections to relays.
public struct RelayClientConfiguration: Sendable {
    /// Limits and timers of the WebSocket connections.
    package var webSocket = WebSocketConfiguration()
    /// TLS settings for `wss://` relays. By default the certificate and host name are verified with the system's
    /// trusted roots, and the minimum version is TLS 1.2.
    public var tls = {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        return tls
    }()
    /// The SOCKS5 proxy for connections to relays; nil to connect directly.
    public var proxy: SOCKS5Proxy?
    /// Limit on what is sent to each of ``budgetedRelays``, because they belong to others; nil for none.
    public var budget: EventBudget?
    /// The relays to which ``budget`` applies.
    public var budgetedRelays: Set<RelayURL> = []
    /// How long to wait for EOSE before a subscription is used without it. Some relays never send EOSE.
    public var subscriptionTimeout: TimeAmount = .milliseconds(500)
    /// Time after which a subscription counts as accepted, if the relay has not rejected it with CLOSED or NOTICE.
    public var subscriptionAcceptance: TimeAmount = .seconds(1)
    /// How long a relay may take to answer EVENT with OK.
    public var publishTimeout: TimeAmount = .seconds(10)
    /// How long the send buffer may stay full before the connection is aborted. The client then reconnects.
    public var stallTimeout: TimeAmount = .seconds(20)
    /// How long to wait for the information document (NIP-11) before the connection is used without it.
    public var informationTimeout: TimeAmount = .seconds(1)
    /// Maximum number of unanswered events per connection. Further events are rejected as `rate-limited:`.
    public var maximumPendingPublishes = 4_096
    /// Maximum sustained rate of REQ messages per connection, per second. Bursts may be twice as large. Keys that are
    /// added at a higher rate share a REQ.
    public var requestsPerSecond = 40
    /// Maximum number of keys in one filter. More keys are divided into several filters.
    public var recipientsPerFilter = 200
    /// Maximum age of missed events that are requested after a reconnect.
    public var catchUp: TimeAmount = .seconds(300)
    /// Maximum number of malformed messages per connection. Beyond it the connection is closed.
    public var maximumMalformedMessages = 100

    /// The limit on what is sent to a relay; nil for none. Another port or path of the same host is the same relay.
    func budget(for url: RelayURL) -> EventBudget? {
        self.budgetedRelays.contains { $0.host == url.host } ? self.budget : nil
    }

    /// Creates a configuration with the default values.
    public init() {
        // The JSON scanner rejects invalid UTF-8.
        self.webSocket.validatesUTF8 = false
        // Relay connections send pings themselves (RelayLiveness).
        self.webSocket.pingInterval = nil
    }
}
