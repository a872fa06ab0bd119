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

/// Who a session is with, what it may, and how much it holds.
extension ExitSessions {
    // MARK: Identities

    func identify(_ link: PeerLink, _ identity: ClientIdentity) -> PublicKey? {
        guard let session = self.session(of: link) else { return nil }
        let isProven = identity.isProven(
            exit: self.configuration.secretKey.publicKey,
            client: session.offer.client,
            fresh: session.fresh,
            acceptanceHashes: session.acceptanceHashes
        )
        guard isProven else { return nil }
        if self.configuration.access?.knows(identity.publicKey, at: Moment.now.seconds) == true {
            self.offerDirectRelay(to: session)
            // Once the link knows it too.
            let bound = NIOLoopBound(self, eventLoop: self.loop)
            let boundSession = NIOLoopBound(session, eventLoop: self.loop)
            self.loop.execute { bound.value.takeOfferedRelays(of: boundSession.value) }
        }
        return identity.publicKey
    }

    /// Whether the client of a session may open the service at a port; nil is everything that is no service of its own.
    func mayOpen(_ port: UInt16?, _ link: PeerLink) -> Bool {
        guard let access = self.configuration.access else { return true }
        guard access.allows(link.identity, port: port, at: Moment.now.seconds) else { return false }
        self.session(of: link)?.usedPorts.insert(port)
        return true
    }

    private func endAll(_ reason: StreamEnd) {
        for session in self.sessions {
            session.link.close(reason)
            self.forget(session)
        }
    }

    /// Takes another list, and ends the sessions of those who lost what they use.
    func update(_ configuration: ExitConfiguration) {
        let becomesPrivate = self.configuration.access == nil && configuration.access != nil
        self.configuration.access = configuration.access
        self.configuration.advertisedRelays = configuration.advertisedRelays
        self.configuration.maximumSessions = configuration.maximumSessions
        // Of sessions to come.
        self.configuration.session.maximumStreams = configuration.session.maximumStreams
        self.configuration.relays = configuration.relays
        self.use(configuration.relays)
        // Nobody who came before the list was asked who it is.
        if becomesPrivate { self.endAll(.notAllowed) } else { self.enforceAccess() }
    }

    /// Keeps what all sessions hold within its limit.
    func enforceMemoryLater() {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        _ = self.loop.scheduleTask(in: .seconds(1)) {
            guard !bound.value.isStopped else { return }
            bound.value.enforceMemory()
            bound.value.enforceMemoryLater()
        }
    }

    private func enforceMemory() {
        guard self.count > 0 else { return }
        var holders = self.sessions.map { ($0, $0.link.dialect.heldBytes) }.sorted { $0.1 < $1.1 }
        var total = holders.reduce(0) { $0 + $1.1 }
        while total > self.configuration.maximumHeldBytes, let (session, held) = holders.popLast(), held > 0 {
            self.logger.warning(
                "session ended: its streams hold too much that services do not take",
                metadata: ["peer": "\(session.offer.client)", "bytes": "\(held)"]
            )
            total -= held
            session.link.close(.readerTooSlow)
        }
    }

    /// Ends the sessions of clients whose permission is gone or over.
    func enforceAccess() {
        guard let access = self.configuration.access else { return }
        let now = Moment.now.seconds
        for session in self.sessions where session.isEstablished {
            let isStranger = session.link.identity.map { !access.knows($0, at: now) } ?? false
            let mayGoOn = session.usedPorts.allSatisfy { access.allows(session.link.identity, port: $0, at: now) }
            guard isStranger || !mayGoOn else { continue }
            self.logger.info("client is not allowed any more", metadata: ["peer": "\(session.offer.client)"])
            session.link.close(.notAllowed)
        }
    }
}
