//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import TunnelProtocol

/// The relays of an exit with their path numbers. The number of a removed relay is reused only if no unused number is
/// left, because running sessions use it for the removed relay.
struct NumberedRelays {
    private let limit: Int
    private var slots: [RelayConnection?] = []

    /// - Parameter limit: Maximum number of path numbers.
    init(limit: Int = .max) {
        self.limit = limit
    }

    /// The relays with their numbers, in order.
    var all: [(path: PathID, relay: RelayConnection)] {
        self.slots.enumerated().compactMap { index, relay in relay.map { (PathID(rawValue: index), $0) } }
    }

    /// The relay of each path number. Nil if the relay was removed.
    var byNumber: [RelayConnection?] { self.slots }

    func contains(_ url: RelayURL) -> Bool { self.slots.contains { $0?.url == url } }

    func relay(_ path: PathID) -> RelayConnection? {
        self.slots.indices.contains(path.rawValue) ? self.slots[path.rawValue] : nil
    }

    func path(of relay: RelayConnection) -> PathID? {
        self.slots.firstIndex { $0 === relay }.map { PathID(rawValue: $0) }
    }

    /// Adds a relay. Returns its path number, or nil if all numbers are in use.
    mutating func add(_ relay: RelayConnection) -> PathID? {
        if self.slots.count < self.limit {
            self.slots.append(relay)
            return PathID(rawValue: self.slots.count - 1)
        }
        guard let free = self.slots.firstIndex(where: { $0 == nil }) else { return nil }
        self.slots[free] = relay
        return PathID(rawValue: free)
    }

    /// Removes a relay. Returns its path number.
    mutating func remove(_ relay: RelayConnection) -> PathID? {
        guard let path = self.path(of: relay) else { return nil }
        self.slots[path.rawValue] = nil
        return path
    }
}
