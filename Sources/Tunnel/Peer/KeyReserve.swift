//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NostrClient
import NostrCrypto

/// Short-lived keys that are made and subscribed to ahead of their use, so that a new session does not wait for a
/// subscription.
final class KeyReserve {
    private let size: Int
    private let least: Int
    private let delay: TimeAmount
    private let pool: RelayPool
    private let lane: RelayLane
    private let loop: any EventLoop
    private var keys: [SecretKey] = []
    private var refill: Scheduled<Void>?

    /// - Parameters:
    ///   - size: Keys after a refill.
    ///   - least: Keys at which new ones are made.
    ///   - delay: Time from a use to the refill, which must not delay the request that used the key.
    ///   - lane: On whose connections the keys are subscribed to.
    init(
        size: Int,
        least: Int,
        delay: TimeAmount,
        pool: RelayPool,
        lane: RelayLane,
        loop: any EventLoop
    ) {
        self.size = size
        self.least = least
        self.delay = delay
        self.pool = pool
        self.lane = lane
        self.loop = loop
    }

    /// Makes keys up to the reserve's size.
    func fill() {
        guard self.keys.count <= self.least else { return }
        while self.keys.count < self.size { self.keys.append(.generate()) }
        for relay in self.pool.connections(in: self.lane) { self.subscribe(on: relay) }
    }

    /// Subscribes the keys on a relay of the lane that is used from now on.
    func subscribe(on relay: RelayConnection) {
        guard relay.lane == self.lane else { return }
        for key in self.keys { _ = relay.subscribe(key.publicKey, to: nil, catchesUp: false) }
    }

    /// Removes the keys from a relay that is not used any more.
    func unsubscribe(from relay: RelayConnection) {
        for key in self.keys { relay.unsubscribe(key.publicKey) }
    }

    /// Takes a key out of the reserve, or makes one if it is empty.
    ///
    /// - Parameter isUsed: Tells which relays of the lane the key will be used on. It is unsubscribed from the others.
    func take(isUsed: (RelayConnection) -> Bool) -> SecretKey {
        self.refillLater()
        guard let key = self.keys.popLast() else { return .generate() }
        for relay in self.pool.connections(in: self.lane) where !isUsed(relay) { relay.unsubscribe(key.publicKey) }
        return key
    }

    private func refillLater() {
        guard self.refill == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        self.refill = self.loop.scheduleTask(in: self.delay) {
            bound.value.refill = nil
            bound.value.fill()
        }
    }

    func stop() { self.refill?.cancel() }
}
