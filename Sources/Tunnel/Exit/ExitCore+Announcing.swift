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

/// What an exit publishes of itself, and its relays as paths.
extension ExitCore {
    // MARK: Announcements

    /// Makes a public exit known, now and before that lapses.
    func announceLater() {
        guard self.configuration.policy != nil, self.configuration.announces else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: ExitAnnouncement.renewal) {
            guard !bound.value.isStopped else { return }
            bound.value.announce(on: bound.value.relays.compactMap { bound.value.pool?.connection($0) })
            bound.value.announceLater()
        }
    }

    func announce(on connections: [RelayConnection]) {
        guard self.configuration.policy != nil, self.configuration.announces, self.drain == nil else { return }
        guard
            let event = try? ExitAnnouncement.event(
                by: self.configuration.secretKey,
                relays: self.configuration.relays,
                createdAt: Moment.now.seconds
            )
        else { return }
        self.publish(
            event,
            on: connections,
            refused: "relay does not take the announcement, so nobody finds the exit there"
        )
    }

    func withdrawAnnouncement() {
        guard self.configuration.policy != nil, self.configuration.announces,
            let event = try? ExitAnnouncement.withdrawal(
                by: self.configuration.secretKey,
                createdAt: Moment.now.seconds
            )
        else { return }
        self.publish(
            event,
            on: self.relays.compactMap { self.pool?.connection($0) },
            refused: "relay does not take the announcement back; it lapses by itself"
        )
    }

    func publish(_ event: Event, on connections: [RelayConnection], refused: Logger.Message) {
        let logger = self.logger
        for connection in connections {
            connection.publish(event.id, ClientMessage.encodeEvent(event)) { result in
                guard case .rejected(let reason) = result else { return }
                logger.warning(refused, metadata: ["relay.url": "\(connection.url)", "reason": "\(reason)"])
            }
        }
    }

    /// Clients find there what to trust (kind 38334).
    func publishCertificate(on connection: RelayConnection) {
        guard let certificate else { return }
        let key = self.configuration.secretKey
        guard let event = try? certificate.event(by: key, createdAt: Moment.now.seconds) else { return }
        self.publish(
            event,
            on: [connection],
            refused: "relay does not take the certificate, so clients cannot find it there"
        )
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
        self.logger.info("relay up", metadata: ["relay.url": "\(key.url)"])
    }

    func relayDown(_ key: RelayPool.Key, _ reason: String) {
        if key.lane == ExitSessions.lane {
            self.sessions?.relayDown(key)
            return
        }
        self.logger.info("relay down", metadata: ["relay.url": "\(key.url)", "reason": "\(reason)"])
        self.published.remove(key.url)
        guard let index = self.relays.firstIndex(of: key) else { return }
        let path = PathID(rawValue: index)
        guard self.ready.remove(path) != nil else { return }
        for link in self.links.values { link.removePath(path) }
        for link in self.sessions?.waiting.links ?? [] { link.removePath(path) }
    }

    func writabilityChanged(_ key: RelayPool.Key, _ isWritable: Bool) {
        if key.lane == ExitSessions.lane {
            self.sessions?.writabilityChanged(key, isWritable)
            return
        }
        guard let index = self.relays.firstIndex(of: key) else { return }
        for link in self.links.values { link.setWritable(PathID(rawValue: index), isWritable) }
    }
}
