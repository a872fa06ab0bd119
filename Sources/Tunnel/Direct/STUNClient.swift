//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NostrCrypto
import STUN

/// Asks STUN servers under which addresses the sockets of direct paths are seen: those of the configuration, and those of the
/// relays that carry the sessions.
final class STUNClient {
    private unowned let sockets: DatagramSockets
    private let configured: [DirectConfiguration.STUNServerAddress]
    private let loop: any EventLoop
    private let logger: Logger
    private var discovery = MappingDiscovery()
    private var timer: LinkTimer?
    /// The addresses of the configured servers, and when they were looked up.
    private var lookup: (addresses: [SocketAddress], at: NIODeadline)?
    private var isLookingUp = false

    /// How long the addresses of a configured server are used before its name is looked up again.
    private static let lookupValidity: TimeAmount = .minutes(5)

    init(
        _ sockets: DatagramSockets,
        configured: [DirectConfiguration.STUNServerAddress],
        loop: any EventLoop,
        logger: Logger
    ) {
        self.sockets = sockets
        self.configured = configured
        self.loop = loop
        self.logger = logger
        self.timer = LinkTimer(loop: loop) { [weak self] in self?.update { $0.timeout(at: $1) } }
    }

    /// The addresses under which the sockets are seen.
    var mapped: [TransportAddress] { self.discovery.mapped }

    /// How the NAT in front of this machine assigns addresses.
    func behavior(isIPv6: Bool) -> MappingDiscovery.Behavior { self.discovery.behavior(isIPv6: isIPv6) }

    /// Asks servers that have not answered lately. If an answer contains another address than before,
    /// ``DatagramSockets/mappingChanged()`` is called.
    ///
    /// - Parameter relays: The STUN servers of relays.
    func refresh(_ relays: [SocketAddress]) {
        self.ask(relays)
        guard !self.configured.isEmpty else { return }
        let now = NIODeadline.now()
        if let lookup, now - lookup.at < Self.lookupValidity { return self.ask(lookup.addresses) }
        guard !self.isLookingUp else { return }
        self.isLookingUp = true
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let lookups = self.configured.map { server in
            HostResolver.own.resolve(host: server.host, port: Int(server.port), on: self.loop)
        }
        EventLoopFuture.whenAllComplete(lookups, on: self.loop).assumeIsolated().whenSuccess { results in
            bound.value.found(results)
        }
    }

    private func found(_ results: [Result<[SocketAddress], any Error>]) {
        self.isLookingUp = false
        for case .failure(let error) in results {
            self.logger.warning("STUN server not found; check --stun", metadata: ["error": "\(error)"])
        }
        let addresses = results.flatMap { (try? $0.get()) ?? [] }
        self.lookup = (addresses, .now())
        self.ask(addresses)
    }

    private func ask(_ servers: [SocketAddress]) {
        let servers = servers.compactMap { TransportAddress($0) }
        self.update { $0.ask(servers, makeID: Self.makeID, at: $1) }
    }

    private static func makeID() -> STUNMessage.TransactionID {
        STUNMessage.TransactionID(random: Bytes32.random().bytes)
    }

    /// Handles a datagram. Returns false if it is no answer to a request of this node.
    func receive(_ datagram: ByteBuffer) -> Bool {
        guard let message = STUNMessage(datagram) else { return false }
        var outcome = MappingDiscovery.Outcome.unexpected
        self.update { outcome = $0.receive(message, at: $1) }
        if outcome == .changed { self.sockets.mappingChanged() }
        return outcome != .unexpected
    }

    private func update(_ body: (inout MappingDiscovery, NIODeadline) -> Void) {
        body(&self.discovery, .now())
        while let request = self.discovery.nextRequest() {
            self.sockets.sendIfReachable(Array(request.message.encoded.readableBytesView), to: request.server)
        }
        if let deadline = self.discovery.nextDeadline { self.timer?.set(deadline) }
    }

    func networkChanged() { self.update { discovery, _ in discovery.networkChanged() } }

    func stop() { self.timer?.cancel() }
}
