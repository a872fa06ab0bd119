//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import Logging
import NIOCore
import NostrCrypto
import STUN

/// Asks STUN servers under which addresses the sockets of direct paths are seen: those of the configuration, those of the
/// relays that carry the sessions, and public ones.
final class STUNClient {
    private unowned let sockets: DatagramSockets
    private let configured: STUNServerLookup
    private let publicServers: STUNServerLookup
    private var discovery = MappingDiscovery()
    private var timer: LinkTimer?

    init(_ sockets: DatagramSockets, _ configuration: DirectConfiguration, loop: any EventLoop, logger: Logger) {
        self.sockets = sockets
        self.configured = STUNServerLookup(configuration.stunServers, loop: loop, logger: logger, level: .warning)
        self.publicServers = STUNServerLookup(
            configuration.publicSTUNServers,
            loop: loop,
            logger: logger,
            level: .debug
        )
        self.timer = LinkTimer(loop: loop) { [weak self] in self?.update { $0.timeout(at: $1) } }
    }

    /// The addresses under which the sockets are seen.
    var mapped: [TransportAddress] { self.discovery.mapped }

    /// How the NAT in front of this machine assigns addresses.
    func behavior(isIPv6: Bool) -> MappingDiscovery.Behavior { self.discovery.behavior(isIPv6: isIPv6) }

    /// Asks servers that have not answered lately. If an answer contains another address than before,
    /// ``DatagramSockets/mappingChanged()`` is called.
    ///
    /// - Parameters:
    ///   - relays: The STUN servers of relays.
    ///   - usesPublicServers: Whether to ask public servers, too.
    func refresh(_ relays: [SocketAddress], usesPublicServers: Bool) {
        self.ask(relays)
        self.configured.withAddresses { [weak self] in self?.ask($0) }
        if usesPublicServers { self.publicServers.withAddresses { [weak self] in self?.ask($0) } }
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
            self.sockets.sendCheck(Array(request.message.encoded.readableBytesView), to: request.server)
        }
        if let deadline = self.discovery.nextDeadline { self.timer?.set(deadline) }
    }

    func networkChanged() {
        self.configured.networkChanged()
        self.publicServers.networkChanged()
        self.update { discovery, _ in discovery.networkChanged() }
    }

    func stop() { self.timer?.cancel() }
}
