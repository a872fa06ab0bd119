//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// What all exit peers of an entry share. Lives on the entry's event loop.
final class EntryContext {
    /// The relays and exits change with ``Entry/update(_:)``.
    var configuration: EntryConfiguration
    let loop: any EventLoop
    let logger: Logger
    let metrics: TunnelMetrics
    let pool: RelayPool
    /// Connections of requests that ask for no isolation.
    let lane: RelayLane
    let keys: KeyReserve
    let memory: ExitMemory
    let verifier: EventVerifier
    let reverse: ReverseRequests
    /// Which relays that names carry are connected to.
    let namedPolicy: DialPolicy
    private var rejectingRelays: Set<RelayURL> = []

    private static let spareKeys = 4
    /// Not while the request that used a key is being served.
    private static let refillDelay: TimeAmount = .milliseconds(200)

    init(
        configuration: EntryConfiguration,
        pins: ExitPins,
        pool: RelayPool,
        namedPolicy: DialPolicy,
        loop: any EventLoop,
        metrics: TunnelMetrics,
        logger: Logger
    ) {
        self.configuration = configuration
        self.pool = pool
        self.namedPolicy = namedPolicy
        self.loop = loop
        self.metrics = metrics
        self.logger = logger
        self.lane = RelayLane()
        self.keys = KeyReserve(
            size: Self.spareKeys,
            least: Self.spareKeys - 1,
            delay: Self.refillDelay,
            pool: pool,
            lane: self.lane,
            loop: loop
        )
        self.memory = ExitMemory(
            pins,
            choice: configuration.protocolChoice,
            plainMemory: configuration.plainMemory,
            logger: logger
        )
        self.verifier = EventVerifier(metrics: metrics, logger: logger)
        self.reverse = ReverseRequests(loop: loop)
    }

    /// The connection to a relay in a lane.
    ///
    /// - Parameter policy: Applies unless the user configured the relay.
    func use(_ url: RelayURL, in lane: RelayLane, policy: DialPolicy) -> RelayConnection? {
        let isConfigured = self.configuration.relays.contains(url)
        // A relay that only others named does not learn a lasting key, even if it asks for authentication.
        let key = isConfigured ? self.configuration.relayAuthenticationKey : nil
        let relay = self.pool.use(
            url,
            in: lane,
            policy: isConfigured ? .configured : policy,
            authenticationKey: key ?? .generate()
        )
        if let relay { self.keys.subscribe(on: relay) }
        return relay
    }

    /// Warns, once for each relay, that it carries no sessions.
    func warnOfRejection(by relay: RelayConnection) {
        guard self.rejectingRelays.count < RelayPool.maximumConnections,
            self.rejectingRelays.insert(relay.url).inserted
        else { return }
        self.logger.warning(
            "relay rejects events of unknown authors, so it carries no sessions",
            metadata: [
                "relay.url": "\(relay.url)", "remedy": "\(self.configuration.remedyText(.relayAuthenticationKey))",
            ]
        )
    }

    /// A UUID for a stream or a question.
    static func makeUUID() -> String {
        var generator = SystemRandomNumberGenerator()
        return NIP74StateMachine.makeKey(using: &generator)
    }

    /// The terms of an offer, or of a question about the session of a key.
    func makeTerms(session: PublicKey? = nil) -> SessionOffer.Terms {
        SessionOffer.Terms(
            nonce: Hex.encode(Bytes32.random().bytes.prefix(16)),
            parameters: SessionParameters(self.configuration.session),
            session: session
        )
    }
}
