//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
public import Logging
public import NIOCore
import NIOSSL
public import Nostr
public import NostrCrypto

/// The relays of a node: one connection for each relay and lane, shared by everything that uses it.
///
/// A lane keeps connections apart that a relay must not tie together, such as those of a long-term key and those of
/// short-lived ones. Lives on its loop.
public final class RelayPool {
    /// Which connection.
    public struct Key: Hashable, Sendable {
        public let url: RelayURL
        public let lane: String

        public init(url: RelayURL, lane: String) {
            self.url = url
            self.lane = lane
        }
    }

    /// What happens on the pool's connections.
    public struct Callbacks {
        /// A message for a recipient. Not verified.
        public var onEvent: (Key, ReceivedEvent) -> Void
        public var onUp: (Key) -> Void
        public var onDown: (Key, _ reason: String) -> Void
        public var onWritabilityChange: (Key, Bool) -> Void

        public init(
            onEvent: @escaping (Key, ReceivedEvent) -> Void = { _, _ in },
            onUp: @escaping (Key) -> Void = { _ in },
            onDown: @escaping (Key, _ reason: String) -> Void = { _, _ in },
            onWritabilityChange: @escaping (Key, Bool) -> Void = { _, _ in }
        ) {
            self.onEvent = onEvent
            self.onUp = onUp
            self.onDown = onDown
            self.onWritabilityChange = onWritabilityChange
        }
    }

    /// Most connections of a pool; relays that names carry count too.
    public static let maximumConnections = 256

    private struct Entry {
        let connection: RelayConnection
        var users: Int
        var closing: Scheduled<Void>?
    }

    private let configuration: RelayClientConfiguration
    private let loop: any EventLoop
    private let logger: Logger
    private let callbacks: Callbacks
    private let lingering: TimeAmount
    private var entries: [Key: Entry] = [:]
    private var isStopped = false
    private let secret = Bytes32.random()
    /// How long trusted roots are used before they are read again.
    static let tlsValidity: TimeAmount = .hours(1)
    /// Of all connections with `wss://`: reading the trusted roots takes long.
    private var tls: (context: NIOSSLContext, since: NIODeadline)?
    private let informationCache: RelayInformationCache?

    /// - Parameter lingering: How long a connection stays when nobody uses it.
    public init(
        configuration: RelayClientConfiguration,
        lingering: TimeAmount,
        loop: any EventLoop,
        logger: Logger,
        callbacks: Callbacks
    ) {
        self.configuration = configuration
        self.lingering = lingering
        self.loop = loop
        self.logger = logger
        self.callbacks = callbacks
        self.informationCache = configuration.proxy == nil ? RelayInformationCache() : nil
    }

    /// The connection of `key`, made and started if there is none; nil beyond ``maximumConnections`` or when TLS
    /// can't be set up. Give it back with ``release(_:)``.
    public func use(_ key: Key, policy: DialPolicy, authenticationKey: @autoclosure () -> SecretKey) -> RelayConnection?
    {
        guard !self.isStopped else { return nil }
        if var entry = self.entries[key] {
            entry.closing?.cancel()
            entry.closing = nil
            entry.users += 1
            self.entries[key] = entry
            return entry.connection
        }
        if self.entries.count >= Self.maximumConnections {
            // What nobody uses makes room.
            for (unused, entry) in self.entries where entry.users <= 0 {
                entry.closing?.cancel()
                entry.connection.stop()
                self.entries[unused] = nil
            }
        }
        guard self.entries.count < Self.maximumConnections else {
            self.logger.warning("too many relays at once", metadata: ["relay.url": "\(key.url)"])
            return nil
        }
        let callbacks = self.callbacks
        do {
            let connection = RelayConnection(
                url: key.url,
                policy: policy,
                configuration: self.configuration,
                tls: key.url.isSecure ? try self.tlsContext() : nil,
                authenticationKey: authenticationKey(),
                loop: self.loop,
                logger: self.logger,
                isolation: self.isolation(of: key.lane),
                informationCache: self.informationCache,
                callbacks: RelayConnection.Callbacks(
                    onEvent: { callbacks.onEvent(key, $0) },
                    onUp: { callbacks.onUp(key) },
                    onDown: { callbacks.onDown(key, $0) },
                    onWritabilityChange: { callbacks.onWritabilityChange(key, $0) }
                )
            )
            self.entries[key] = Entry(connection: connection, users: 1)
            connection.start()
            return connection
        } catch {
            self.logger.error("TLS cannot be set up", metadata: ["error": "\(error)", "relay.url": "\(key.url)"])
            return nil
        }
    }

    private func tlsContext() throws -> NIOSSLContext {
        let now = NIODeadline.now()
        if let tls = self.tls, now - tls.since < Self.tlsValidity { return tls.context }
        let context = try NIOSSLContext(configuration: self.configuration.tls)
        self.tls = (context, now)
        return context
    }

    /// Connections that can still be made: those that nobody uses make room.
    public var room: Int {
        Self.maximumConnections - self.entries.values.count { $0.users > 0 }
    }

    /// What keeps the connections of a lane together, and apart from all others, at a proxy: it says nothing of the lane.
    private func isolation(of lane: String) -> String {
        Bytes32.sha256(of: self.secret.bytes + Array(lane.utf8)).hex
    }

    /// The connection of `key`, if there is one.
    public func connection(_ key: Key) -> RelayConnection? { self.entries[key]?.connection }

    /// All connections, of whatever lane.
    public var all: [RelayConnection] { self.entries.values.map(\.connection) }

    /// The connections of a lane.
    public func connections(of lane: String) -> [Key] { self.entries.keys.filter { $0.lane == lane } }

    /// One user fewer. The last one's connection closes after a while.
    public func release(_ key: Key) {
        guard var entry = self.entries[key] else { return }
        entry.users -= 1
        if entry.users <= 0 {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            entry.closing = self.loop.scheduleTask(in: self.lingering) {
                bound.value.entries.removeValue(forKey: key)?.connection.stop()
            }
        }
        self.entries[key] = entry
    }

    /// Closes all connections for good.
    public func stop() {
        self.isStopped = true
        let entries = self.entries
        self.entries = [:]
        for entry in entries.values {
            entry.closing?.cancel()
            entry.connection.stop()
        }
    }
}
