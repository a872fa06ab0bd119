//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto

/// Publishes the exit's relays as its relay list (NIP-65), so that clients can find the exit by its npub. It does not
/// replace a list that another program has published with the same key.
final class ExitRelayList {
    /// The list that was found on a relay.
    private enum Found {
        case nothing
        case own(EventID)
        case foreign
    }

    /// Timeout for the query for the list on a relay.
    private static let timeout: TimeAmount = .seconds(3)
    /// How long to wait for the answers of all relays before the list is published on those that have answered.
    private static let gathering: TimeAmount = .seconds(5)

    private let key: SecretKey
    private let loop: any EventLoop
    private let logger: Logger
    private let publish: (Event, RelayConnection) -> Void
    private var written: PublishedRelayLists
    private var relays: [RelayURL]
    private var advertised: [RelayURL]
    private var found: [RelayURL: Found] = [:]
    private var connections: [RelayURL: RelayConnection] = [:]
    private var event: Event?
    private var newestDate: Int64 = 0
    private var isGathered = false
    private var isForeign = false

    /// - Parameters:
    ///   - relays: The exit's relays.
    ///   - advertised: The URLs by which clients reach these relays.
    ///   - file: The file for the IDs of the lists that this exit has published; nil to keep them only in memory.
    ///   - publish: Publishes an event on a relay.
    init(
        key: SecretKey,
        relays: [RelayURL],
        advertised: [RelayURL],
        file: String?,
        loop: any EventLoop,
        logger: Logger,
        publish: @escaping (Event, RelayConnection) -> Void
    ) throws {
        self.key = key
        self.relays = relays
        self.advertised = advertised
        self.written = try PublishedRelayLists(path: file)
        self.loop = loop
        self.logger = logger
        self.publish = publish
        let bound = NIOLoopBound(self, eventLoop: loop)
        _ = loop.scheduleTask(in: Self.gathering) { bound.value.gather() }
    }

    /// Changes the relays.
    func update(relays: [RelayURL], advertised: [RelayURL]) {
        guard self.advertised != advertised || self.relays != relays else { return }
        self.relays = relays
        self.advertised = advertised
        self.connections = self.connections.filter { relays.contains($0.key) }
        self.found = [:]
        self.event = nil
        // Another program may have published a list meanwhile, so query each relay again.
        for connection in self.connections.values where connection.isOpen { self.relayIsUp(connection) }
    }

    /// Queries a connected relay for the exit's list.
    func relayIsUp(_ connection: RelayConnection) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let url = connection.url
        self.connections[url] = connection
        let own = self.key.publicKey
        connection.query(Filter(authors: [own], kinds: [.relayList], limit: 1), timeout: Self.timeout) {
            events,
            isWhole in
            let newest = events.map(\.event).filter { $0.kind == .relayList && $0.pubkey == own }
                .filter { (try? $0.verify()) != nil }.max { $0.createdAt < $1.createdAt }
            // Do not publish a list on a relay that does not answer.
            guard isWhole || newest != nil else { return }
            bound.value.received(newest, from: url)
        }
    }

    private func received(_ list: Event?, from url: RelayURL) {
        if let list {
            self.newestDate = max(self.newestDate, list.createdAt)
            self.found[url] = self.written.contains(list.id) ? .own(list.id) : .foreign
        } else {
            self.found[url] = Found.nothing
        }
        if case .foreign? = self.found[url] { self.foundForeign(on: url) }
        if !self.isGathered, self.relays.allSatisfy({ self.found[$0] != nil }) {
            self.gather()
        } else if self.isGathered {
            self.send(to: url)
        }
    }

    private func gather() {
        guard !self.isGathered else { return }
        self.isGathered = true
        for url in self.found.keys { self.send(to: url) }
    }

    private func foundForeign(on url: RelayURL) {
        guard !self.isForeign else { return }
        self.isForeign = true
        self.logger.warning(
            "another program published a relay list (NIP-65) with the exit's key; it is not replaced, and clients that know only the npub use it",
            metadata: ["relay.url": "\(url)"]
        )
        // The relay answered after this exit had published its own list. Delete that list, because it would replace the
        // list of the other program.
        guard let event, let deletion = try? self.deletion(of: event) else { return }
        for connection in self.connections.values { self.publish(deletion, connection) }
    }

    private func send(to url: RelayURL) {
        guard !self.isForeign, let found = self.found[url], let connection = self.connections[url],
            let event = self.currentEvent()
        else { return }
        if case .own(event.id) = found { return }
        self.found[url] = .own(event.id)
        self.publish(event, connection)
    }

    /// Returns the list to publish. Its ID is stored before the list is published, so that the exit recognizes its own
    /// list later.
    private func currentEvent() -> Event? {
        if let event { return event }
        do {
            let event = try Event.signed(
                by: self.key,
                createdAt: max(RelayConnection.date(for: self.connections.values), self.newestDate + 1),
                kind: .relayList,
                tags: self.advertised.map { Tag("r", ByteString($0.text)) },
                content: ByteBuffer()
            )
            try self.written.insert(event.id)
            self.event = event
            return event
        } catch {
            self.logger.warning(
                "cannot store the ID of the relay list, so the list is not published",
                metadata: ["error": "\(error)"]
            )
            self.isForeign = true
            return nil
        }
    }

    private func deletion(of event: Event) throws -> Event {
        try Event.signed(
            by: self.key,
            createdAt: RelayConnection.date(for: self.connections.values),
            kind: .deletion,
            tags: [Tag("e", ByteString(event.id.bytes.hex)), Tag("k", ByteString("\(EventKind.relayList.rawValue)"))],
            content: ByteBuffer()
        )
    }
}
