//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient
import NostrCrypto

/// Temporary keys that are generated and subscribed to in advance, so that a new session does not wait for a
/// subscription.
final class KeyReserve {
    private let size: Int
    private let refillThreshold: Int
    private let refillDelay: TimeAmount
    private let pool: RelayPool
    private let lane: RelayLane
    private let loop: any EventLoop
    private var keys: [SecretKey] = []
    private var refill: Scheduled<Void>?

    /// - Parameters:
    ///   - size: Number of keys after a refill.
    ///   - refillThreshold: The reserve is refilled when it has at most this number of keys.
    ///   - refillDelay: Time between the use of a key and the refill, so that the refill does not delay the request that used
    ///     the key.
    ///   - lane: The keys are subscribed to on the connections of this lane.
    init(
        size: Int,
        refillThreshold: Int,
        refillDelay: TimeAmount,
        pool: RelayPool,
        lane: RelayLane,
        loop: any EventLoop
    ) {
        self.size = size
        self.refillThreshold = refillThreshold
        self.refillDelay = refillDelay
        self.pool = pool
        self.lane = lane
        self.loop = loop
    }

    /// Number of keys. Subscriptions of new ones may not be active yet.
    var count: Int { self.keys.count }

    /// Generates keys up to the size of the reserve, if it has at most `refillThreshold` keys.
    func fill() {
        guard self.keys.count <= self.refillThreshold else { return }
        while self.keys.count < self.size { self.keys.append(.generate()) }
        // Subscribing to a key again has no effect.
        for relay in self.pool.connections(in: self.lane) { self.subscribe(on: relay) }
    }

    /// Subscribes to the keys on a newly used relay, if it belongs to the lane.
    func subscribe(on relay: RelayConnection) {
        guard relay.lane == self.lane else { return }
        for key in self.keys { _ = relay.subscribe(key.publicKey, to: nil, catchesUp: false) }
    }

    /// Unsubscribes the keys from a relay that is no longer used.
    func unsubscribe(from relay: RelayConnection) {
        for key in self.keys { relay.unsubscribe(key.publicKey) }
    }

    /// Removes and returns a key of the reserve. Generates a key if the reserve is empty.
    ///
    /// - Parameter isUsed: Returns whether the key will be used on a relay of the lane. The key is unsubscribed from
    ///   the other relays.
    func take(isUsed: (RelayConnection) -> Bool) -> SecretKey {
        self.refillLater()
        guard let key = self.keys.popLast() else { return .generate() }
        for relay in self.pool.connections(in: self.lane) where !isUsed(relay) { relay.unsubscribe(key.publicKey) }
        return key
    }

    private func refillLater() {
        guard self.refill == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.refill = self.loop.scheduleTask(in: self.refillDelay) {
            bound.value.refill = nil
            bound.value.fill()
        }
    }

    func stop() { self.refill?.cancel() }
}
