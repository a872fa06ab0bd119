//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Nostr
import NostrClient
import TunnelProtocol

/// The relays by which an entry reaches one exit, numbered in the order in which they were added.
struct ExitPaths {
    private struct Entry {
        let relay: RelayConnection
        /// Whether the relay delivers the messages of the exit.
        var isReady = false
        /// Whether the exit's relay list (NIP-65) contains the relay.
        var isListed = false
    }

    private var entries: [Entry] = []

    var count: Int { self.entries.count }
    var relays: [RelayConnection] { self.entries.map(\.relay) }

    mutating func append(_ relay: RelayConnection) { self.entries.append(Entry(relay: relay)) }

    func relay(_ url: RelayURL) -> RelayConnection? { self.entries.first { $0.relay.url == url }?.relay }

    func path(of relay: RelayConnection) -> PathID? {
        self.entries.firstIndex { $0.relay === relay }.map { PathID(rawValue: $0) }
    }

    mutating func setReady(_ relay: RelayConnection, _ isReady: Bool) {
        guard let index = self.entries.firstIndex(where: { $0.relay === relay }) else { return }
        self.entries[index].isReady = isReady
    }

    func isReady(_ relay: RelayConnection) -> Bool { self.entries.first { $0.relay === relay }?.isReady ?? false }

    mutating func setListed(_ url: RelayURL) {
        guard let index = self.entries.firstIndex(where: { $0.relay.url == url }) else { return }
        self.entries[index].isListed = true
    }

    /// The ready paths with their relays. Relays in the exit's relay list are first, followed by the others in the
    /// order of their numbers.
    var ready: [(path: PathID, relay: RelayConnection)] {
        let ready = self.entries.indices.filter { self.entries[$0].isReady }
        let ordered = ready.filter { self.entries[$0].isListed } + ready.filter { !self.entries[$0].isListed }
        return ordered.map { (PathID(rawValue: $0), self.entries[$0].relay) }
    }

    var hasListed: Bool { self.entries.contains(where: \.isListed) }
    var hasReadyListed: Bool { self.entries.contains { $0.isListed && $0.isReady } }

    /// Whether a relay is still connecting and has not failed.
    var isConnecting: Bool { self.entries.contains { !$0.isReady && $0.relay.lastError == nil } }

    /// Whether every relay failed.
    var isUnreachable: Bool { self.entries.allSatisfy(\.relay.isUnreachable) }

    /// The reason why each relay cannot be used.
    var problems: [String] {
        self.relays.map { relay in
            let reason = relay.lastError ?? (relay.isOpen ? "no answer to the subscription" : "connecting")
            return "\(relay.url): \(reason)"
        }
    }
}
