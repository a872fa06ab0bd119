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

/// The relays of an exit's long-term key, which are the paths of plain NIP-74 and of offers.
extension ExitCore {
    /// Those in use.
    var activeRelays: [RelayPool.Key] { self.relays.compactMap { $0 } }

    func addRelay(_ url: RelayURL) {
        let key = RelayPool.Key(url: url, lane: Self.lane)
        guard !self.relays.contains(key),
            let connection = self.pool?.use(
                key,
                policy: .configured,
                authenticationKey: self.configuration.secretKey
            )
        else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let path = PathID(rawValue: self.relays.count)
        self.relays.append(key)
        connection.onSubscriptionSettled = { bound.value.subscriptionSettled(path) }
        connection.addRecipient(self.configuration.secretKey.publicKey) { bound.value.pathReady(path) }
    }

    private func removeRelay(_ key: RelayPool.Key) {
        guard let index = self.relays.firstIndex(of: key), let connection = self.pool?.connection(key) else { return }
        self.pathGone(PathID(rawValue: index))
        connection.onSubscriptionSettled = nil
        connection.removeRecipient(self.configuration.secretKey.publicKey)
        self.relays[index] = nil
        self.published.remove(key.url)
        self.pool?.release(key)
    }

    /// Uses the relays of another configuration, and tells those that stay of the others.
    func use(_ configuration: ExitConfiguration) {
        let hasChanged =
            self.configuration.relays != configuration.relays
            || self.configuration.advertisedRelays != configuration.advertisedRelays
        guard hasChanged else { return }
        self.configuration.relays = configuration.relays
        self.configuration.advertisedRelays = configuration.advertisedRelays
        self.renewCertificate()
        for key in self.activeRelays where !configuration.relays.contains(key.url) { self.removeRelay(key) }
        for url in configuration.relays { self.addRelay(url) }
        self.relayList?.update(relays: configuration.relays, advertised: self.configuration.advertisedRelaysInOrder)
        self.announce(on: self.activeRelays.compactMap { self.pool?.connection($0) }.filter(\.isOpen))
    }

    func connection(_ path: PathID) -> RelayConnection? {
        guard self.relays.indices.contains(path.rawValue), let key = self.relays[path.rawValue] else { return nil }
        return self.pool?.connection(key)
    }

    func subscriptionSettled(_ path: PathID) {
        guard let connection = self.connection(path), connection.subscriptionIsAccepted else { return }
        if !self.hasRelay {
            self.hasRelay = true
            self.firstRelay.succeed()
        }
        // Once for each connection: a relay that was restarted may have forgotten.
        guard self.published.insert(connection.url).inserted else { return }
        self.publishCertificate(on: connection)
        self.announce(on: [connection])
        self.relayList?.relayIsUp(connection)
    }

    func pathReady(_ path: PathID) {
        guard let connection = self.connection(path) else { return }
        self.ready.insert(path)
        let description = PathDescription(url: connection.url, information: connection.information)
        for link in self.links.values { link.addPath(path, description) }
        for link in self.sessions?.waiting.links ?? [] { link.addPath(path, description) }
    }

    func relayUp(_ key: RelayPool.Key) {
        // The connections of sessions come and go with those of the long-term key, which speak for both.
        guard key.lane == Self.lane else { return }
        self.isUnreachable = false
        self.logger.info("relay up", metadata: ["relay.url": "\(key.url)"])
    }

    func relayDown(_ key: RelayPool.Key, _ reason: String) {
        if ExitSessions.isLane(key.lane) {
            self.sessions?.relayDown(key)
            return
        }
        self.logger.info("relay down", metadata: ["relay.url": "\(key.url)", "reason": "\(reason)"])
        self.published.remove(key.url)
        self.sayIfUnreachable()
        guard let index = self.relays.firstIndex(of: key) else { return }
        self.pathGone(PathID(rawValue: index))
    }

    /// Says once that nobody can reach the exit.
    private func sayIfUnreachable() {
        let connections = self.activeRelays.compactMap { self.pool?.connection($0) }
        guard !self.isUnreachable, !self.isStopped, connections.allSatisfy({ !$0.isOpen && $0.lastError != nil }) else {
            return
        }
        self.isUnreachable = true
        self.logger.warning(
            "no relay can be reached, so nobody can reach this exit",
            metadata: ["relays": "\(connections.map { "\($0.url): \($0.lastError ?? "")" }.joined(separator: "; "))"]
        )
    }

    private func pathGone(_ path: PathID) {
        guard self.ready.remove(path) != nil else { return }
        for link in self.links.values { link.removePath(path) }
        for link in self.sessions?.waiting.links ?? [] { link.removePath(path) }
    }

    func writabilityChanged(_ key: RelayPool.Key, _ isWritable: Bool) {
        if ExitSessions.isLane(key.lane) {
            self.sessions?.writabilityChanged(key, isWritable)
            return
        }
        guard let index = self.relays.firstIndex(of: key) else { return }
        for link in self.links.values { link.setWritable(PathID(rawValue: index), isWritable) }
    }
}
