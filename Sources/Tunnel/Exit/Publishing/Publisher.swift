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

/// Publishes the announcement, the relay list and the certificate of an exit on its relays.
final class Publisher {
    private let context: ExitContext
    private let clients: PlainClients
    private var certificate: ExitCertificate?
    private var relayList: ExitRelayList?
    /// Relays on whose current connection the events were published.
    private var published: Set<ObjectIdentifier> = []
    private var renewal: Scheduled<Void>?
    /// The date of the newest announcement, in seconds since 1970.
    private var newestDate: Int64 = 0
    /// By how many seconds a date may be ahead for relays and clients, which ignore later ones.
    private static let acceptedAhead: Int64 = 900

    init(context: ExitContext, clients: PlainClients) {
        self.context = context
        self.clients = clients
    }

    func start() {
        if self.context.configuration.publishesRelays { self.startRelayList() }
        self.renewAnnouncementLater()
    }

    /// Stops announcing the exit, and deletes the current announcement from the relays (NIP-09).
    func stop() {
        self.renewal?.cancel()
        self.renewal = nil
        guard self.announces,
            let event = try? ExitAnnouncement.withdrawal(
                by: self.context.configuration.secretKey,
                createdAt: self.date(for: self.clients.connections)
            )
        else { return }
        self.publish(
            event,
            on: self.clients.connections,
            onRejection: "relay rejects the deletion of the announcement, which expires by itself"
        )
    }

    /// Sets the certificate of the exit's services. It is published on the relays (kind 38334), so that clients can
    /// find it.
    func setCertificate(_ certificate: ExitCertificate?) { self.certificate = certificate }

    /// Publishes the changed relays. Call this method after the relays or their advertised URLs have changed.
    func relaysChanged() {
        let configuration = self.context.configuration
        self.relayList?.update(relays: configuration.relays, advertised: configuration.advertisedRelaysInOrder)
        self.announce(on: self.clients.connections.filter(\.isOpen))
    }

    // MARK: Relays

    /// Called when a relay has accepted the exit's subscription. The events are published again on each connection,
    /// because a relay that restarted may have lost them.
    func relayIsSubscribed(_ relay: RelayConnection) {
        guard self.published.insert(ObjectIdentifier(relay)).inserted else { return }
        self.publishCertificate(on: relay)
        self.announce(on: [relay])
        self.relayList?.relayIsUp(relay)
    }

    func relayIsDisconnected(_ relay: RelayConnection) { self.published.remove(ObjectIdentifier(relay)) }

    // MARK: Events

    private var announces: Bool { self.context.configuration.policy != nil && self.context.configuration.announces }

    private func renewAnnouncementLater() {
        guard self.announces else { return }
        let bound = NIOLoopBound(self, eventLoop: self.context.loop)
        self.renewal = self.context.loop.scheduleTask(in: ExitAnnouncement.renewal) {
            bound.value.announce(on: bound.value.clients.connections)
            bound.value.renewAnnouncementLater()
        }
    }

    /// The date of an announcement or its deletion. It is not older than an earlier one, which the relays would keep, unless
    /// that one's date was so wrong that they did not accept it.
    private func date(for relays: [RelayConnection]) -> Int64 {
        let date = RelayConnection.date(for: relays)
        self.newestDate = self.newestDate > date + Self.acceptedAhead ? date : max(self.newestDate, date)
        return self.newestDate
    }

    private func announce(on relays: [RelayConnection]) {
        guard self.announces, self.renewal != nil,
            let event = try? ExitAnnouncement.event(
                by: self.context.configuration.secretKey,
                relays: self.context.configuration.advertisedRelaysInOrder,
                createdAt: self.date(for: relays)
            )
        else { return }
        self.publish(
            event,
            on: relays,
            onRejection: "relay rejects the announcement; clients cannot find the exit there"
        )
    }

    private func publishCertificate(on relay: RelayConnection) {
        guard
            let event = try? self.certificate?.event(
                by: self.context.configuration.secretKey,
                createdAt: RelayConnection.date(for: [relay])
            )
        else { return }
        self.publish(event, on: [relay], onRejection: "relay rejects the certificate; clients cannot find it there")
    }

    private func startRelayList() {
        do {
            self.relayList = try ExitRelayList(
                key: self.context.configuration.secretKey,
                relays: self.context.configuration.relays,
                advertised: self.context.configuration.advertisedRelaysInOrder,
                file: self.context.configuration.relayListFile,
                loop: self.context.loop,
                logger: self.context.logger
            ) { [weak self] event, relay in
                self?.publish(event, on: [relay], onRejection: "relay rejects the relay list (NIP-65)")
            }
        } catch {
            self.context.logger.warning("no relay list is published", metadata: ["error": "\(error)"])
        }
    }

    private func publish(_ event: Event, on relays: [RelayConnection], onRejection message: Logger.Message) {
        let logger = self.context.logger
        for relay in relays {
            relay.publish(event.id, ClientMessage.encodeEvent(event)) { result in
                guard case .rejected(let reason) = result else { return }
                logger.warning(message, metadata: ["relay.url": "\(relay.url)", "reason": "\(reason)"])
            }
        }
    }
}
