//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Relays that are named during a session: the exit's own, ones that it was given meanwhile, and this node's own.
extension EntryCore {
    /// The number of this node's relay in a session.
    private static let directPath = PathID(rawValue: SessionConfiguration.exitPaths)

    /// The exit names one more relay. One that it runs itself is dialled only where that is wanted; the session takes it
    /// only then.
    func takePath(_ offer: SessionPathOffer, of first: PublicKey) {
        guard let association = self.associationsByKey[first], case .session = association.carrier,
            !association.sessionPaths.values.contains(offer.path), let url = try? RelayURL(offer.relay)
        else { return }
        let key = RelayPool.Key(url: url, lane: association.address.lane)
        if let index = association.relays.firstIndex(of: key) {
            let path = PathID(rawValue: index)
            guard association.sessionPaths[path] == nil else { return }
            association.sessionPaths[path] = offer.path
            if association.ready.contains(path) { self.addSessionPath(path, of: association) }
            return
        }
        guard association.relays.count < 2 * EntryConfiguration.maximumRelaysPerName else { return }
        self.logger.debug(
            offer.isDirect ? "exit offers a direct path" : "exit names one more relay",
            metadata: ["relay.url": "\(url)"]
        )
        self.addRelay(url, policy: association.laterPolicy, as: offer.path, to: association)
    }

    private func addRelay(_ url: RelayURL, policy: DialPolicy, as number: PathID, to association: EntryAssociation) {
        let local = PathID(rawValue: association.relays.count)
        association.sessionPaths[local] = number
        self.addRelay(url, policy: policy, to: association)
        // Too many connections, for instance.
        if association.relays.count == local.rawValue { association.sessionPaths[local] = nil }
    }

    /// Tells an exit that dials relays of clients of the one that this node runs.
    func offerDirectRelay(to association: EntryAssociation, _ link: PeerLink, _ acceptance: SessionAcceptance) {
        guard let direct = self.configuration.directRelay, acceptance.parameters.takenPaths.contains(.ofPeer) else {
            return
        }
        self.addRelay(direct.own, policy: .own, as: Self.directPath, to: association)
        link.offerPath(SessionPathOffer(path: Self.directPath, relay: direct.offered.text, isDirect: true))
    }
}
