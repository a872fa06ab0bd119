//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import Logging
package import NIOCore
import NIOSSL
package import Nostr
package import NostrCrypto

/// Identifies a group of connections. Relays must not be able to link connections of different lanes to each other.
///
/// Connections are shared within a lane and never between lanes. A SOCKS proxy receives different credentials for each
/// lane.
package struct RelayLane: Hashable, Sendable {
    fileprivate let identifier: Bytes32

    /// Creates a new lane, which differs from all others.
    package init() {
        self.identifier = .random()
    }

    /// Creates the lane for an isolation value, such as a proxy client's credentials. Equal values give equal lanes.
    package init(isolation: [UInt8]) {
        self.identifier = .sha256(of: isolation)
    }
}

/// The relay connections of a node. There is one connection for each relay and lane, and all users share it.
///
/// All methods must be called on its event loop.
package final class RelayPool {
    private struct Key: Hashable {
        let url: RelayURL
        let lane: RelayLane
    }

    private struct Entry {
        let connection: RelayConnection
        var users: Int
        var closing: Scheduled<Void>?
    }

    /// Maximum number of connections of a pool, including those to relays in `.nostr` names.
    package static let maximumConnections = 256
    /// How long the system's trusted roots are used before they are read again.
    private static let rootsValidity: TimeAmount = .hours(1)

    private let configuration: RelayClientConfiguration
    private let lingering: TimeAmount
    private let loop: any EventLoop
    private let logger: Logger
    private weak var delegate: (any RelayConnectionDelegate)?
    private let informationCache: RelayInformationCache?
    /// Hashed together with a lane's identifier to get its proxy credentials, which therefore do not reveal the lane.
    private let secret = Bytes32.random()
    private var entries: [Key: Entry] = [:]
    /// The budgets by host. There are at most as many as hosts in the list of public relays.
    private var budgets: [String: SharedBudget] = [:]
    private var tls: (context: NIOSSLContext, since: NIODeadline)?
    private var isStopped = false
    /// Minimum time between two checks of all connections.
    private static let checkInterval: TimeAmount = .seconds(1)
    private var lastCheck: NIODeadline?
    private var nextCheck: Scheduled<Void>?
    /// Reports changes of the network from the first connection until ``stop()``.
    private var hostWatch: HostWatch.Registration?

    /// - Parameters:
    ///   - lingering: How long a connection without users stays open.
    ///   - delegate: Receives changes of the connections. Not retained.
    package init(
        configuration: RelayClientConfiguration,
        lingering: TimeAmount,
        loop: any EventLoop,
        logger: Logger,
        delegate: any RelayConnectionDelegate
    ) {
        self.configuration = configuration
        self.lingering = lingering
        self.loop = loop
        self.logger = logger
        self.delegate = delegate
        // Behind a proxy, a relay must not be able to link connections by a document that they share.
        self.informationCache = configuration.proxy == nil ? RelayInformationCache() : nil
    }

    /// Returns the connection to a relay. Creates and starts it if there is none. Call ``release(_:)`` when it is no
    /// longer needed.
    ///
    /// - Parameter authenticationKey: Signs answers to AUTH challenges; used only for a new connection.
    /// - Returns: Nil if there are ``maximumConnections`` in use, or the pool is stopped.
    package func use(
        _ url: RelayURL,
        in lane: RelayLane,
        policy: DialPolicy,
        authenticationKey: @autoclosure () -> SecretKey
    ) -> RelayConnection? {
        guard !self.isStopped, let delegate else { return nil }
        let key = Key(url: url, lane: lane)
        if var entry = self.entries[key] {
            entry.closing?.cancel()
            entry.closing = nil
            entry.users += 1
            self.entries[key] = entry
            return entry.connection
        }
        if self.entries.count >= Self.maximumConnections { self.closeUnused() }
        guard self.entries.count < Self.maximumConnections else {
            self.logger.warning("too many relay connections", metadata: ["relay.url": "\(url)"])
            return nil
        }
        let target = RelaySocket.Target(
            url: url,
            policy: policy,
            tls: { [weak self] () throws(RelayConnectionError) in
                guard url.isSecure else { return nil }
                guard let self else { throw .stopped }
                return try self.tlsContext()
            },
            isolation: Bytes32.sha256(of: self.secret.bytes + lane.identifier.bytes).hex
        )
        let connection = RelayConnection(
            target,
            lane: lane,
            configuration: self.configuration,
            authenticationKey: authenticationKey(),
            informationCache: self.informationCache,
            budget: self.budget(of: url),
            loop: self.loop,
            logger: self.logger,
            delegate: delegate
        )
        self.entries[key] = Entry(connection: connection, users: 1)
        self.watchHost()
        connection.start()
        return connection
    }

    private func budget(of url: RelayURL) -> SharedBudget? {
        guard let budget = self.configuration.budget(for: url) else { return nil }
        if let known = self.budgets[url.host] { return known }
        let shared = SharedBudget(budget)
        self.budgets[url.host] = shared
        return shared
    }

    private func tlsContext() throws(RelayConnectionError) -> NIOSSLContext {
        let now = NIODeadline.now()
        if let tls = self.tls, now - tls.since < Self.rootsValidity { return tls.context }
        do {
            let context = try NIOSSLContext(configuration: self.configuration.tls)
            self.tls = (context, now)
            return context
        } catch {
            // BoringSSL reports an unknown error if the system has no CA certificates.
            if case .default? = self.configuration.tls.trustRoots, "\(error)".hasPrefix("unknownError") {
                throw .noCertificateAuthorities
            }
            throw .tls("\(error)")
        }
    }

    private func watchHost() {
        guard self.hostWatch == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.hostWatch = HostWatch.shared.observe(on: self.loop) { bound.value.networkChanged() }
    }

    /// Checks all connections soon, at most once in ``checkInterval``.
    private func networkChanged() {
        guard self.nextCheck == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let due = self.lastCheck.map { $0 + Self.checkInterval } ?? .now()
        self.nextCheck = self.loop.scheduleTask(deadline: due) { bound.value.checkConnections() }
    }

    private func checkConnections() {
        self.nextCheck = nil
        self.lastCheck = .now()
        self.logger.debug("addresses, routes or the clock have changed, checking connections to relays")
        for entry in self.entries.values { entry.connection.verify() }
    }

    private func closeUnused() {
        for (key, entry) in self.entries where entry.users <= 0 {
            entry.closing?.cancel()
            entry.connection.stop()
            self.entries[key] = nil
        }
    }

    /// Number of connections that can still be created. Connections without users do not count, because they are closed
    /// when the limit is reached.
    package var room: Int { Self.maximumConnections - self.entries.values.count { $0.users > 0 } }

    /// Whether there is a connection to a relay.
    package func contains(_ url: RelayURL, in lane: RelayLane) -> Bool {
        self.entries[Key(url: url, lane: lane)] != nil
    }

    /// Whether any connection to a relay is open.
    package func isConnected(to url: RelayURL) -> Bool {
        self.entries.contains { $0.key.url == url && $0.value.connection.isOpen }
    }

    package var connections: [RelayConnection] { self.entries.values.map(\.connection) }

    package func connections(in lane: RelayLane) -> [RelayConnection] { self.connections.filter { $0.lane == lane } }

    /// Ends one use of a connection. After the last use has ended, the connection stays open for the lingering time.
    package func release(_ connection: RelayConnection) {
        let key = Key(url: connection.url, lane: connection.lane)
        guard var entry = self.entries[key], entry.connection === connection else { return }
        entry.users -= 1
        if entry.users <= 0 {
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            entry.closing = self.loop.scheduleTask(in: self.lingering) {
                bound.value.entries.removeValue(forKey: key)?.connection.stop()
            }
        }
        self.entries[key] = entry
    }

    /// Closes all connections. The pool creates no new ones afterwards.
    package func stop() {
        self.isStopped = true
        self.hostWatch = nil
        self.nextCheck?.cancel()
        let entries = self.entries
        self.entries = [:]
        for entry in entries.values {
            entry.closing?.cancel()
            entry.connection.stop()
        }
    }
}
