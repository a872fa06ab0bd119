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

/// The relays on which an exit accepts sessions, with the same path numbers in every session, and a reserve of session keys
/// that are subscribed there.
final class SessionRelays {
    /// Number of keys that are generated in advance, and the number at which the reserve is refilled.
    private static let spareKeys = (most: 8, least: 3)
    /// The refill is delayed, so that it does not delay the answer to an offer.
    private static let refillDelay: TimeAmount = .milliseconds(50)

    private let context: ExitContext
    private let lane = RelayLane()
    private let keys: KeyReserve
    private(set) var numbered = NumberedRelays(limit: SessionConfiguration.maximumPaths)

    init(context: ExitContext) {
        self.context = context
        self.keys = KeyReserve(
            size: Self.spareKeys.most,
            refillThreshold: Self.spareKeys.least,
            refillDelay: Self.refillDelay,
            pool: context.pool,
            lane: self.lane,
            loop: context.loop
        )
    }

    /// Connects to relays that are not in use yet. Returns them.
    func add(_ urls: [RelayURL]) -> [(path: PathID, relay: RelayConnection)] {
        urls.compactMap { self.numbered.contains($0) ? nil : self.add($0) }
    }

    private func add(_ url: RelayURL) -> (path: PathID, relay: RelayConnection)? {
        let relay = self.context.pool.use(
            url,
            in: self.lane,
            policy: .configured,
            authenticationKey: self.context.configuration.relayAuthenticationKey ?? .generate()
        )
        guard let relay else { return nil }
        guard let path = self.numbered.add(relay) else {
            self.context.logger.warning(
                "sessions use at most \(SessionConfiguration.maximumPaths) relays; they do not use this relay",
                metadata: ["relay.url": "\(url)"]
            )
            self.context.pool.release(relay)
            return nil
        }
        self.keys.subscribe(on: relay)
        return (path, relay)
    }

    /// Disconnects from a relay.
    func remove(_ relay: RelayConnection) {
        self.keys.unsubscribe(from: relay)
        _ = self.numbered.remove(relay)
        self.context.pool.release(relay)
    }

    /// Returns a new session key.
    func takeKey() -> SecretKey { self.keys.take { _ in true } }

    func start() { self.keys.fill() }

    func stop() { self.keys.stop() }
}
