//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOEmbedded
import Nostr

@testable import NostrRelay

/// A relay in memory, without sockets and threads. Its clock stands still until ``advance(by:)`` moves it.
///
/// All of it runs on one embedded event loop, so everything that a message causes has happened when the call that sent
/// the message returns. Use it in tests that are not asynchronous, because the loop belongs to one thread.
final class RelayHarness {
    /// The time at which the relay's clock starts, in seconds since 1970.
    static let now: Int64 = 1_800_000_000
    /// The Host header field of the clients' upgrade requests.
    static let host = "relay.example"
    /// The URL that clients use.
    static let url = "wss://\(RelayHarness.host)"

    let configuration: RelayConfiguration
    private let loop: EmbeddedEventLoop
    private let hub: RelayHub
    private let team: ParallelVerifier
    private let metrics: RelayMetrics
    private let clock: RelayClock
    private let milliseconds = NIOLockedValueBox(RelayHarness.now * 1_000)
    private let logger = Logger(label: "relay harness") { _ in SwiftLogNoOpLogHandler() }

    init(limits: RelayLimits = RelayLimits()) {
        var configuration = RelayConfiguration(host: "127.0.0.1", port: 0)
        configuration.limits = limits
        let loop = EmbeddedEventLoop()
        let metrics = RelayMetrics()
        self.configuration = configuration
        self.loop = loop
        let milliseconds = self.milliseconds
        self.clock = RelayClock(
            secondsSince1970: { milliseconds.withLockedValue { $0 / 1_000 } },
            monotonic: { .uptimeNanoseconds(UInt64(milliseconds.withLockedValue { $0 }) * 1_000_000) }
        )
        self.hub = RelayHub(limits: limits, metrics: metrics, clock: self.clock)
        // A relay with one event loop verifies signatures at once, without other threads.
        self.team = ParallelVerifier(loop)
        self.metrics = metrics
    }

    /// A relay that stores at most this many events.
    convenience init(storedEvents: Int) {
        var limits = RelayLimits()
        limits.storedEvents = storedEvents
        self.init(limits: limits)
    }

    /// The limits in the relay's information document (NIP-11).
    var limitation: RelayInformation.Limitation { self.configuration.information.limitation }

    /// Moves the relay's clock forward.
    func advance(by seconds: Int64) { self.advance(milliseconds: seconds * 1_000) }

    /// Moves the relay's clock forward.
    func advance(milliseconds: Int64) {
        self.milliseconds.withLockedValue { $0 += milliseconds }
        self.loop.advanceTime(by: .milliseconds(milliseconds))
    }

    /// Connects a client, in the same way as `RelayServer`.
    func connect() throws -> MemoryClient {
        let channel = EmbeddedChannel(loop: self.loop)
        let outbox = RelayOutbox(
            eventLoop: self.loop,
            peer: "-",
            maximumBytes: self.configuration.limits.outboundBytes,
            metrics: self.metrics,
            logger: self.logger
        )
        let session = RelayClientSession(
            configuration: self.configuration,
            hub: self.hub,
            loop: self.loop,
            team: self.team,
            metrics: self.metrics,
            clock: self.clock,
            outbox: outbox,
            host: Self.host,
            logger: self.logger
        )
        // The messages of the client go to the session directly; only those of the relay become WebSocket frames.
        let socket = try WebSocket.attach(
            toBare: channel,
            configuration: WebSocketConfiguration(),
            isServer: true,
            events: WebSocket.Events(onMessage: { _ in }, onClose: { _ in })
        )
        outbox.open(socket)
        session.open()
        return try MemoryClient(channel: channel, session: session)
    }
}
