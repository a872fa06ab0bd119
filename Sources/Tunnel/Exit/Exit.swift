//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The state of an exit on its event loop. Connects relays, clients, sessions and services, and applies new
/// configurations.
///
/// ``ExitService`` is its thread-safe interface.
final class Exit {
    let context: ExitContext
    let clients: PlainClients
    private var sessions: Sessions?
    let connector: StreamConnector
    private let publisher: Publisher
    let replays: ReplayGuard
    private let reverse: ReverseConnector
    let enrolments: Enrolments
    private let endsTLS: Bool
    /// The pool's delegate, which the pool does not retain.
    private let relayWatch: RelayWatch
    var drain: Drain?
    private var sweep: Scheduled<Void>?

    /// - Parameter firstRelay: Succeeds when the first relay has accepted the exit's subscription.
    /// - Throws: ``ExitServices/TLSForLocalServiceError``, or if the replay journal cannot be used.
    init(
        configuration: ExitConfiguration,
        loop: any EventLoop,
        logger: Logger,
        firstRelay: EventLoopPromise<Void>
    ) throws {
        try configuration.services.checkTLS()
        let lane = RelayLane()
        self.relayWatch = RelayWatch(lane: lane, firstRelay: firstRelay, logger: logger)
        self.context = ExitContext(
            configuration: configuration,
            pool: RelayPool(
                configuration: configuration.relayClient,
                lingering: configuration.lingering,
                loop: loop,
                logger: logger,
                delegate: self.relayWatch
            ),
            loop: loop,
            metrics: TunnelMetrics(logger: logger),
            audit: try configuration.auditFile.map { try AuditLog(path: $0, logger: logger) },
            logger: logger
        )
        self.replays = try ReplayGuard(context: self.context)
        self.clients = PlainClients(lane: lane, context: self.context)
        self.publisher = Publisher(context: self.context, clients: self.clients)
        self.enrolments = Enrolments(context: self.context)
        self.endsTLS = !configuration.services.tlsPorts.isEmpty
        self.connector = StreamConnector(context: self.context)
        self.reverse = ReverseConnector(connector: self.connector, context: self.context)
        if self.endsTLS { try self.makeCertificate() }
        if configuration.protocolChoice != .nip74 { self.sessions = Sessions(context: self.context) }
        self.relayWatch.delegate = self
        self.connector.delegate = self
        self.clients.delegate = self
        self.enrolments.delegate = self
        self.sessions?.delegate = self
    }

    /// Creates the certificate for the exit's name. The key of its certificate authority, which clients trust, depends
    /// only on the exit's key.
    private func makeCertificate() throws {
        let configuration = self.context.configuration
        let certificate = try ExitCertificate(key: configuration.secretKey, name: configuration.name, now: Date())
        self.connector.tls = try TLSTerminator(certificate)
        self.publisher.setCertificate(certificate)
    }

    /// Connects to the relays.
    func start() {
        self.context.sockets?.open(port: self.context.configuration.direct.port)
        self.publisher.start()
        self.sessions?.start()
        self.clients.use(self.context.configuration.relays)
        self.sweepLater()
    }

    private func sweepLater() {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        let lingering = self.context.configuration.lingering
        self.sweep = self.context.loop.scheduleTask(in: lingering) {
            let exit = bound.value
            exit.clients.sweep(unusedFor: lingering)
            exit.sessions?.enforceAccess()
            exit.connector.sweep()
            exit.sweepLater()
        }
    }

    // MARK: Status

    /// The configuration in effect.
    var configuration: ExitConfiguration { self.context.configuration }

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.streams = self.connector.streamCount
        let services = self.context.configuration.services
        status.services = services.byPort.sorted { $0.key < $1.key }.map { .init(port: $0, target: "\($1)") }
        if let fallback = services.fallback { status.services.append(.init(port: nil, target: "\(fallback)")) }
        for relay in self.clients.connections {
            if relay.subscriptionIsAccepted { status.isReady = true }
            status.add(relay)
        }
        for relay in self.context.pool.connections { status.addTraffic(of: relay) }
        self.sessions?.addStatus(to: &status)
        status.peers += self.clients.status
        return status
    }

    // MARK: Reloading

    /// Applies the settings that can change while streams are open: services, access, rules, limits and relays.
    func update(_ configuration: ExitConfiguration) {
        self.context.audit?.reopen()
        let before = self.context.configuration
        var services = configuration.services
        // The TLS ports cannot change, because TLS is set up at the start.
        services.tlsPorts = before.services.tlsPorts
        self.context.configuration.services = services
        self.context.configuration.access = configuration.access
        self.context.configuration.registry = configuration.registry
        self.context.configuration.maximumSessions = configuration.maximumSessions
        self.context.configuration.handshakesPerSecond = configuration.handshakesPerSecond
        self.context.configuration.connectsPerSecondPerClient = configuration.connectsPerSecondPerClient
        // Applies to new sessions.
        self.context.configuration.session.maximumStreams = configuration.session.maximumStreams
        if before.policy != nil, configuration.policy != nil {
            self.context.configuration.policy = configuration.policy
        }
        self.connector.updateLimits()
        self.clients.updateRate()
        self.clients.updateAccess()
        if before.relays != configuration.relays || before.advertisedRelays != configuration.advertisedRelays {
            self.useRelays(of: configuration)
        }
        if before.access == nil, configuration.access != nil {
            // Clients that connected before there was a list of keys were not asked for their identity.
            self.clients.closeAll(.notAllowed)
            self.sessions?.closeAll(.notAllowed)
            self.reverse.closeAll()
        } else {
            self.sessions?.enforceAccess()
        }
    }

    private func useRelays(of configuration: ExitConfiguration) {
        self.context.configuration.relays = configuration.relays
        self.context.configuration.advertisedRelays = configuration.advertisedRelays
        if self.endsTLS {
            do {
                try self.makeCertificate()
            } catch {
                self.context.logger.warning(
                    "cannot create a certificate for the new name",
                    metadata: ["error": "\(error)"]
                )
            }
        }
        self.clients.use(configuration.relays)
        self.sessions?.use(configuration.relays)
        self.publisher.relaysChanged()
    }

    // MARK: Ending

    /// Refuses new streams from now on. The future succeeds when no stream is open or `timeout` expires.
    func drain(timeout: TimeAmount) -> EventLoopFuture<Void> {
        self.publisher.stop()
        let drain = Drain(timeout: timeout, on: self.context.loop)
        self.drain = drain
        self.context.logger.info(
            "shutting down: no new streams",
            metadata: ["open": "\(self.connector.streamCount)"]
        )
        self.finishDrainIfIdle()
        return drain.future
    }

    private func finishDrainIfIdle() {
        if let drain, self.connector.streamCount == 0 { drain.finish() }
    }

    /// Ends all streams and notifies the clients. Call ``disconnect(after:promise:)`` afterwards.
    func stop() {
        self.sweep?.cancel()
        self.sessions?.stop()
        self.clients.closeAll(.shuttingDown)
        self.reverse.closeAll()
        self.relayWatch.stop()
    }

    /// Disconnects from the relays after `delay`, so that the last messages can be sent.
    func disconnect(after delay: TimeAmount, promise: EventLoopPromise<Void>) {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: delay) {
            bound.value.context.pool.stop()
            bound.value.context.sockets?.close()
            bound.value.context.audit?.flush()
            promise.succeed()
        }
    }

    // MARK: Streams

    private func refusal(of connect: StreamRequest.Connect, from client: PublicKey) -> StreamEnd? {
        self.sessions?.offerBecamePlain(OfferID(client: client, key: connect.key))
        return self.replays.refusal(of: connect, from: client)
    }

    private func plainClient(_ key: PublicKey) -> StreamClient {
        StreamClient(peer: key, identity: nil, isPlain: true, sessionStreams: 0, sessions: 0)
    }
}

extension Exit: StreamConnectorDelegate {
    func streamDidEnd() { self.finishDrainIfIdle() }
}

extension Exit: RelayWatchDelegate {
    func relayIsSubscribed(_ relay: RelayConnection) { self.publisher.relayIsSubscribed(relay) }
    func relayIsDisconnected(_ relay: RelayConnection) { self.publisher.relayIsDisconnected(relay) }
    var watchedRelays: [RelayConnection]? { self.drain == nil ? self.clients.connections : nil }
}

extension Exit: PlainClientsDelegate {
    func plainClients(
        _ clients: PlainClients,
        isAskedFor request: StreamRequest,
        as id: StreamID,
        on link: PlainLink
    ) -> StreamDecision {
        guard self.drain == nil else { return .refused(.shuttingDown) }
        if let connect = request.connect, let refusal = self.refusal(of: connect, from: link.peer) {
            return .refused(refusal)
        }
        return self.connector.connect(request, of: self.plainClient(link.peer), carrier: link, id: id)
    }

    func plainClients(
        _ clients: PlainClients,
        didReceive offer: SessionOffer,
        from client: PublicKey,
        by url: RelayURL?,
        known: KnownClient?
    ) {
        self.sessions?.receive(offer, from: client, by: url, known: known)
    }

    func plainClients(
        _ clients: PlainClients,
        didReceiveOutdated offer: SessionOffer,
        from client: PublicKey,
        by url: RelayURL?
    ) {
        self.sessions?.refuse(offer, from: client, by: url, .clockSkew)
    }

    func plainClients(_ clients: PlainClients, didReceive request: ReverseRequest, on link: PlainLink) {
        guard self.context.configuration.reverseConnections != nil else {
            return self.context.metrics.reported(.reverseConnect)
        }
        guard self.drain == nil else { return }
        guard let address = TargetAddress.parts(of: request.address) else {
            return self.context.metrics.reported(.malformedMessage)
        }
        guard self.refusal(of: request.connect, from: link.peer) == nil else { return }
        self.reverse.connect(address, for: request, of: self.plainClient(link.peer))
    }
}
