//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import HTTPTransport
public import NIOCore
public import NIOSSL

/// Limits and timers of connections to relays.
public struct RelayClientConfiguration: Sendable {
    /// Of the WebSocket connections.
    public var webSocket = WebSocketConfiguration()
    /// Trust for `wss://`; by default the system's roots, fully verified.
    public var tls = {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.minimumTLSVersion = .tlsv12
        return tls
    }()
    /// By which relays are reached; nil to connect to them at once.
    public var proxy: SOCKS5Proxy?
    /// Without EOSE for this long, what expects an answer is sent all the same.
    public var subscriptionPatience: TimeAmount = .milliseconds(500)
    /// Without CLOSED or NOTICE for this long, a subscription counts as accepted.
    public var subscriptionAcceptance: TimeAmount = .seconds(1)
    /// How long a relay may take to answer EVENT with OK.
    public var publishTimeout: TimeAmount = .seconds(10)
    /// How long a relay may take nothing while messages wait for it, before the connection is made anew.
    public var stallTimeout: TimeAmount = .seconds(20)
    /// How long the information document (NIP-11) is waited for before the connection is used without it.
    public var informationPatience: TimeAmount = .seconds(1)
    /// Events published and not answered, per connection; more are refused as if the relay were too fast a no.
    public var maximumPendingPublishes = 4_096
    /// REQs a second of a connection, sustained; twice as many at once. Keys that come faster share them.
    public var requestsPerSecond = 40
    /// Keys in one filter; more are spread over several.
    public var recipientsPerFilter = 200
    /// How far back a subscription reaches after a reconnect, at most.
    public var catchUp: TimeAmount = .seconds(300)
    /// Messages of a relay that make no sense, after which it is disconnected for a while.
    public var maximumMalformedMessages = 100

    public init() {
        // The JSON scanner refuses what is not UTF-8.
        self.webSocket.validatesUTF8 = false
    }
}
