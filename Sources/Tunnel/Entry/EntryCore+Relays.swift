//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// What relays bring, and their coming and going.
extension EntryCore {
    func receive(_ key: RelayPool.Key, _ received: ReceivedEvent) {
        let event = received.event
        guard let recipient = self.gate.recipient(of: event) else { return }
        guard let association = self.associationsByKey[recipient],
            let index = association.relays.firstIndex(of: key)
        else {
            self.metrics.rejected(.wrongRecipient)
            return
        }
        let path = PathID(rawValue: index)
        guard let link = association.link, link.knows(recipient: recipient, author: event.pubkey) else {
            self.receiveAnswer(event, to: association, recipient: recipient, path: path)
            return
        }
        let isSession = if case .session = association.carrier { true } else { false }
        guard isSession || self.gate.admit(event),
            let message = link.open(event, recipient: recipient)
        else { return }
        guard isSession else {
            link.receive(message, path: path)
            return
        }
        // What comes by a relay that the exit has not named is no packet of a path.
        let number = association.sessionPaths[path] ?? PathID(rawValue: -1)
        if let answer = link.receive(message, path: number) {
            self.receiveRepeatedAnswer(answer, of: association, path: path)
        }
    }

    func relayUp(_ key: RelayPool.Key) {
        // Where this node reaches its own relay is nobody's business, and of no interest.
        guard key.url != self.configuration.directRelay?.own else { return }
        self.logger.info("relay up", metadata: ["relay.url": "\(key.url)"])
        self.discoverExits(on: key)
    }

    func relayDown(_ key: RelayPool.Key, _ reason: String) {
        if key.url != self.configuration.directRelay?.own {
            self.logger.info("relay down", metadata: ["relay.url": "\(key.url)", "reason": "\(reason)"])
        }
        for association in self.all {
            guard let index = association.relays.firstIndex(of: key) else { continue }
            let path = PathID(rawValue: index)
            association.ready.remove(path)
            if let number = self.linkPath(path, of: association) { association.link?.removePath(number) }
            self.serveWaiting(of: association)
        }
    }

    func writabilityChanged(_ key: RelayPool.Key, _ isWritable: Bool) {
        for association in self.all {
            guard let index = association.relays.firstIndex(of: key) else { continue }
            guard let path = self.linkPath(PathID(rawValue: index), of: association) else { continue }
            association.link?.setWritable(path, isWritable)
        }
    }

    /// What the association's link calls one of our relays.
    private func linkPath(_ path: PathID, of association: EntryAssociation) -> PathID? {
        if case .session = association.carrier { association.sessionPaths[path] } else { path }
    }
}
