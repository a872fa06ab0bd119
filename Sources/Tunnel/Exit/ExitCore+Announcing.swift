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

/// What an exit publishes of itself.
extension ExitCore {
    // MARK: Announcements

    /// Makes a public exit known, now and before that lapses.
    func announceLater() {
        guard self.configuration.policy != nil, self.configuration.announces else { return }
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: ExitAnnouncement.renewal) {
            guard !bound.value.isStopped else { return }
            bound.value.announce(on: bound.value.activeRelays.compactMap { bound.value.pool?.connection($0) })
            bound.value.announceLater()
        }
    }

    func announce(on connections: [RelayConnection]) {
        guard self.configuration.policy != nil, self.configuration.announces, self.drain == nil else { return }
        guard
            let event = try? ExitAnnouncement.event(
                by: self.configuration.secretKey,
                relays: self.configuration.advertisedRelaysInOrder,
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
            on: self.activeRelays.compactMap { self.pool?.connection($0) },
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

    func makeRelayList() throws -> ExitRelayList {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        return try ExitRelayList(
            key: self.configuration.secretKey,
            relays: self.configuration.relays,
            advertised: self.configuration.advertisedRelaysInOrder,
            file: self.configuration.relayListFile,
            loop: self.loop,
            logger: self.logger
        ) { event, connection in
            bound.value.publish(event, on: [connection], refused: "relay does not take the relay list (NIP-65)")
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
}
