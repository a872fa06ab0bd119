//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto

/// What an entry remembers of exits and relays.
extension EntryCore {
    /// Exits of which it is remembered that they speak only NIP-74.
    private static let maximumPlainExits = 1_024

    func opening(with exit: PublicKey) -> EntryAssociation.Opening {
        switch self.configuration.dialectChoice {
        case .nip74:
            if self.pins.contains(exit) {
                self.logger.warning(
                    "exit speaks sessions, and this entry is told to speak plain NIP-74 with it (--dialect nip74)",
                    metadata: ["exit": "\(exit.npub)"]
                )
            }
            return .plain
        case .session: return .offer(mayFallBack: false)
        case .auto: break
        }
        if self.pins.contains(exit) { return .offer(mayFallBack: false) }
        if let until = self.plainExits[exit], until > .now() { return .plain }
        return .offer(mayFallBack: true)
    }

    func rememberPlain(_ exit: PublicKey) {
        if self.plainExits.count >= Self.maximumPlainExits {
            self.plainExits = self.plainExits.filter { $0.value > .now() }
            if self.plainExits.count >= Self.maximumPlainExits { self.plainExits = [:] }
        }
        self.plainExits[exit] = .now() + self.configuration.plainMemory
    }

    func pin(_ exit: PublicKey) {
        do {
            if try !self.pins.insert(exit) { self.logger.warning("too many exits to remember what they speak") }
        } catch {
            self.logger.warning("cannot remember that the exit speaks sessions", metadata: ["error": "\(error)"])
        }
    }

    /// Says once of a relay that it carries no sessions.
    func relayRefused(_ url: RelayURL) {
        guard self.refusedRelays.count < RelayPool.maximumConnections, self.refusedRelays.insert(url).inserted else {
            return
        }
        self.logger.warning(
            "relay refuses events of unknown authors and carries no sessions; give it a key that it admits (--auth-key)",
            metadata: ["relay.url": "\(url)"]
        )
    }
}
