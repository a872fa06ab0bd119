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

/// An exit on its event loop: wires relays, clients, sessions and services together, and takes new configurations.
///
/// ``ExitService`` is its `Sendable` front.
final class Exit {
    private let context: ExitContext
    private let clients: PlainClients
    private var sessions: Sessions?
    private var connector: StreamConnector!
    private let publisher: Publisher
    private let replays: ReplayJournal
    /// Connections to entries that asked for them (CONNECTR).
    private let reverseConnections: ConnectionSet
    private let endsTLS: Bool
    /// Holds the pool's delegate, which the pool does not retain.
    private let relayEvents: RelayEvents
    private var drain: Drain?
    private var sweep: Scheduled<Void>?
    /// Succeeds when a relay took the exit's subscription.
    private let firstRelay: EventLoopPromise<Void>
    private var hasRelay = false
    /// It was reported that no relay can be reached.
    private var isUnreachable = false

    /// The pool's delegate. The pool is made before the exit.
    private final class RelayEvents: RelayConnectionDelegate {
        weak var exit: Exit?

        func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
            self.exit?.relay(relay, didChange: state)
        }
    }

    /// A service in the program's code gets its bytes without TLS.
    struct TLSOfCodeError: Error, CustomStringConvertible {
        let port: UInt16
        var description: String {
            "port \(self.port): TLS cannot be terminated for a service in the program's own code"
        }
    }

    /// - Parameter firstRelay: Succeeds when a relay took the exit's subscription.
    /// - Throws: ``TLSOfCodeError``, or if the replay journal cannot be used.
    init(
        configuration: ExitConfiguration,
        loop: any EventLoop,
        logger: Logger,
        firstRelay: EventLoopPromise<Void>
    ) throws {
        let services = configuration.services
        for (port, backend) in services.byPort where services.endsTLS(port) {
            if case .local = backend { throw TLSOfCodeError(port: port) }
        }
        self.replays = try ReplayJournal(path: configuration.replayFile, now: Moment.now.seconds)
        self.relayEvents = RelayEvents()
        self.context = ExitContext(
            configuration: configuration,
            pool: RelayPool(
                configuration: configuration.relayClient,
                lingering: configuration.lingering,
                loop: loop,
                logger: logger,
                delegate: self.relayEvents
            ),
            loop: loop,
            metrics: TunnelMetrics(logger: logger),
            logger: logger
        )
        self.clients = PlainClients(context: self.context)
        self.publisher = Publisher(context: self.context, clients: self.clients)
        self.reverseConnections = ConnectionSet(limit: configuration.maximumPlainStreams)
        self.endsTLS = !services.tlsPorts.isEmpty
        self.firstRelay = firstRelay
        self.connector = StreamConnector(context: self.context) { [unowned self] in self.finishDrainIfIdle() }
        if self.endsTLS { try self.makeCertificate() }
        if configuration.protocolChoice != .nip74 { self.sessions = Sessions(context: self.context) }
        self.relayEvents.exit = self
        self.clients.delegate = self
        self.sessions?.delegate = self
    }

    /// Makes the certificate of the exit's name. Its authority, which clients keep, depends only on the exit's key.
    private func makeCertificate() throws {
        let configuration = self.context.configuration
        let certificate = try ExitCertificate(key: configuration.secretKey, name: configuration.name, now: Date())
        self.connector.tls = try TLSTerminator(certificate)
        self.publisher.setCertificate(certificate)
    }

    /// Connects to the relays.
    func start() {
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

    var status: TunnelStatus {
        var status = TunnelStatus()
        status.streams = self.connector.streamCount
        for relay in self.clients.connections {
            if relay.subscriptionIsAccepted { status.isReady = true }
            status.add(relay)
        }
        for relay in self.context.pool.connections { status.add(relay.carriedBytes, of: relay.url) }
        self.sessions?.addStatus(to: &status)
        status.peers += self.clients.status
        return status
    }

    // MARK: Reloading

    /// Takes what can change while streams run: services, access, rules, limits and relays.
    func update(_ configuration: ExitConfiguration) {
        let before = self.context.configuration
        var services = configuration.services
        // Certificates are made at the start.
        services.tlsPorts = before.services.tlsPorts
        self.context.configuration.services = services
        self.context.configuration.access = configuration.access
        self.context.configuration.maximumSessions = configuration.maximumSessions
        self.context.configuration.handshakesPerSecond = configuration.handshakesPerSecond
        // For new sessions.
        self.context.configuration.session.maximumStreams = configuration.session.maximumStreams
        if before.policy != nil, configuration.policy != nil {
            self.context.configuration.policy = configuration.policy
        }
        self.connector.updateLimits()
        self.clients.updateRate()
        if before.relays != configuration.relays || before.advertisedRelays != configuration.advertisedRelays {
            self.useRelays(of: configuration)
        }
        if before.access == nil, configuration.access != nil {
            // Clients that came before the list were not asked for their identity.
            self.clients.closeAll(.notAllowed)
            self.sessions?.closeAll(.notAllowed)
            self.reverseConnections.closeAll()
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
                    "cannot make a certificate of the new name",
                    metadata: ["error": "\(error)"]
                )
            }
        }
        self.clients.use(configuration.relays)
        self.sessions?.use(configuration.relays)
        self.publisher.relaysChanged()
    }

    // MARK: Ending

    /// Refuses new streams from now on. The future succeeds when no stream is left, or after `patience`.
    func drain(patience: TimeAmount) -> EventLoopFuture<Void> {
        self.publisher.stop()
        let drain = Drain(patience: patience, on: self.context.loop)
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

    /// Ends all streams and tells the clients. Call ``disconnect(after:promise:)`` afterwards.
    func stop() {
        self.sweep?.cancel()
        self.sessions?.stop()
        self.clients.closeAll(.shuttingDown)
        self.reverseConnections.closeAll()
        if !self.hasRelay { self.firstRelay.fail(RelayConnectionError.stopped) }
    }

    /// Closes the relays when the last messages had time to be sent.
    func disconnect(after delay: TimeAmount, promise: EventLoopPromise<Void>) {
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        _ = self.context.loop.scheduleTask(in: delay) {
            bound.value.context.pool.stop()
            promise.succeed()
        }
    }

    // MARK: Relays

    private func relay(_ relay: RelayConnection, didChange state: RelayConnection.Transition) {
        // The connections of sessions are not reported: they come and go with those of the long-term key.
        guard relay.lane == self.clients.lane else { return }
        switch state {
        case .connected:
            self.isUnreachable = false
            self.context.logger.info("relay up", metadata: ["relay.url": "\(relay.url)"])
        case .subscribed:
            guard relay.subscriptionIsAccepted else { return }
            if !self.hasRelay {
                self.hasRelay = true
                self.firstRelay.succeed()
            }
            self.publisher.relayIsSubscribed(relay)
        case .disconnected(let reason):
            self.context.logger.info("relay down", metadata: ["relay.url": "\(relay.url)", "reason": "\(reason)"])
            self.publisher.relayIsDisconnected(relay)
            self.warnIfUnreachable()
        }
    }

    /// Warns, once, that no client can reach the exit.
    private func warnIfUnreachable() {
        let relays = self.clients.connections
        guard !self.isUnreachable, self.drain == nil, relays.allSatisfy(\.isUnreachable) else { return }
        self.isUnreachable = true
        self.context.logger.warning(
            "no relay can be reached, so no client can reach this exit",
            metadata: ["relays": "\(relays.map { "\($0.url): \($0.lastError ?? "")" }.joined(separator: "; "))"]
        )
    }

    // MARK: Streams

    /// Whether a CONNECT of plain NIP-74 may be served: never twice, and not where only sessions are served.
    private func refusal(of connect: StreamRequest.Connect, from client: PublicKey) -> StreamEnd? {
        self.sessions?.offerBecamePlain(OfferID(client: client, key: connect.key))
        guard Admission.servesPlain(self.context.configuration) else {
            self.context.logLimited(
                .warning,
                "client speaks plain NIP-74, which this exit does not serve",
                ["peer": "\(client)"]
            )
            return .notAllowed
        }
        guard self.remember(connect.key, connect.createdAt, of: client) else {
            self.context.metrics.reported(.replayedConnect)
            if self.replays.isFull {
                self.context.logLimited(.error, "too many plain NIP-74 requests to remember; new ones are refused", [:])
            } else if self.replays.hasFailed {
                self.context.logLimited(
                    .error,
                    "cannot write to the replay journal, so plain NIP-74 requests are refused; is the disk full?",
                    [:]
                )
            }
            return .replayed
        }
        return nil
    }

    /// Enters a request in the replay journal. False if it is there, or cannot be remembered.
    private func remember(_ key: String, _ createdAt: Int64, of client: PublicKey) -> Bool {
        self.replays.admit(client: client, key: key, createdAt: createdAt, now: Moment.now.seconds)
    }

    private func plainClient(_ key: PublicKey) -> StreamClient {
        StreamClient(peer: key, identity: nil, isPlain: true, sessionStreams: 0, sessions: 0)
    }

    private func join(_ stream: ReverseStream, _ request: ReverseRequest, of client: StreamClient) {
        let id = ReverseStream.stream
        guard self.context.configuration.access == nil else { return stream.reset(id, .notAllowed) }
        let asked = StreamRequest(destination: request.destination, port: nil)
        switch self.connector.connect(asked, of: client, carrier: stream, id: id) {
        case .accepted(let endpoint):
            self.context.metrics.streamsOpened.increment()
            stream.setEndpoint(endpoint)
        case .refused(let reason):
            self.context.metrics.ended(reason)
            stream.reset(id, reason)
        }
    }
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

    func plainClients(_ clients: PlainClients, didReceive offer: SessionOffer, from client: PublicKey) {
        self.sessions?.receive(offer, from: client)
    }

    func plainClients(_ clients: PlainClients, didReceive request: ReverseRequest, on link: PlainLink) {
        guard let policy = self.context.configuration.reverseConnections else {
            return self.context.metrics.reported(.reverseConnect)
        }
        guard self.drain == nil else { return }
        guard let address = TargetAddress.parts(of: request.address) else {
            return self.context.metrics.reported(.malformedMessage)
        }
        guard self.refusal(of: request.connect, from: link.peer) == nil else { return }
        let client = self.plainClient(link.peer)
        self.connector.connectToEntry(
            address,
            policy: policy,
            key: request.connect.key,
            of: client,
            in: self.reverseConnections
        ) { [weak self] in self?.join($0, request, of: client) }
    }
}

extension Exit: SessionsDelegate {
    func sessions(
        _ sessions: Sessions,
        isAskedFor request: StreamRequest,
        as id: StreamID,
        in session: IncomingSession
    ) -> StreamDecision {
        guard self.drain == nil else { return .refused(.shuttingDown) }
        guard session.mayOpen(Admission.permission(for: request, self.context.configuration)) else {
            // The same answer whether there is such a service or not.
            self.context.metrics.streamsForbidden.increment()
            self.context.logLimited(
                .info,
                "stream refused: not allowed",
                [
                    "identity": "\(session.identity?.npub ?? "none")", "peer": "\(session.offer.client)",
                    "port": "\(request.port ?? 0)",
                ]
            )
            return .refused(.notAllowed)
        }
        let client = StreamClient(
            peer: session.offer.client,
            identity: session.identity,
            isPlain: false,
            sessionStreams: session.link.streamCount,
            sessions: sessions.count
        )
        return self.connector.connect(request, of: client, carrier: session.link, id: id)
    }

    func sessions(_ sessions: Sessions, admitOnce offer: SessionOffer, of client: PublicKey) -> Bool {
        self.remember(offer.key, offer.createdAt, of: client)
    }

    func sessions(_ sessions: Sessions, offerBegan offer: OfferID) { self.clients.offerBegan(of: offer.client) }

    func sessions(_ sessions: Sessions, offerEnded offer: OfferID, hasBegun: Bool) {
        if hasBegun { self.clients.offerSettled(offer.key, of: offer.client) }
        self.clients.offerEnded(of: offer.client)
    }
}
