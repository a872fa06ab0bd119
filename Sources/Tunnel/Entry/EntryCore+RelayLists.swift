//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

extension EntryCore {
    // MARK: Relay lists (NIP-65)

    /// Asks the configured relays that are up, or come up soon, where the exit reads.
    func askForRelayList(of association: EntryAssociation) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let clientKey = association.key
        let filter = Filter(authors: [association.address.publicKey], kinds: [.relayList], limit: 1)
        for key in association.relays {
            guard let connection = self.pool?.connection(key) else { continue }
            // One that could not be reached just now says nothing.
            guard connection.isOpen || connection.lastError == nil else { continue }
            association.listQuestions += 1
            connection.whenOpen(within: self.configuration.relayPatience) { isOpen in
                guard isOpen else {
                    bound.value.relayListAnswered([], of: clientKey)
                    return
                }
                connection.query(filter, timeout: bound.value.configuration.relayListTimeout) { events, _ in
                    bound.value.relayListAnswered(events, of: clientKey)
                }
            }
        }
    }

    private func relayListAnswered(_ events: [ReceivedEvent], of clientKey: PublicKey) {
        guard let association = self.associationsByKey[clientKey] else { return }
        association.listQuestions -= 1
        let newest = events.map(\.event)
            .filter { $0.kind == .relayList && $0.pubkey == association.address.publicKey }
            .filter { (try? $0.verify()) != nil }
            .max { $0.createdAt < $1.createdAt }
        if let newest { self.addListedRelays(newest, to: association) }
        self.serveWaiting(of: association)
    }

    private func addListedRelays(_ list: Event, to association: EntryAssociation) {
        let read = list.tags.filter { tag in
            tag.name == "r" && (tag.fields.count < 3 || tag.fields[2] == "read")
        }
        let urls = read.compactMap { $0.value.flatMap { try? RelayURL($0.text) } }.removingDuplicates()
        for url in urls.prefix(EntryConfiguration.maximumRelaysPerName)
        where association.relays.count < 2 * EntryConfiguration.maximumRelaysPerName {
            self.addRelay(url, policy: association.laterPolicy, to: association)
            let key = RelayPool.Key(url: url, lane: association.address.lane)
            if let index = association.relays.firstIndex(of: key) {
                association.listed.insert(PathID(rawValue: index))
            }
        }
        guard !association.listed.isEmpty else { return }
        association.listedDeadline = .now() + self.configuration.relayPatience
        self.serveLater(association.key, after: self.configuration.relayPatience)
    }
}
