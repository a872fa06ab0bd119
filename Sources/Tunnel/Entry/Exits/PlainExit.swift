//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import Logging
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// Is notified of changes of a ``PlainExit``.
protocol PlainExitDelegate: AnyObject {
    /// The last stream ended.
    func plainExitDidBecomeIdle(_ exit: PlainExit)
}

/// A link to an exit in plain NIP-74. It is used to offer a session, and carries the streams if the exit does not
/// accept the offer.
final class PlainExit {
    let link: PlainLink
    private let exit: PublicKey
    private let destination: String
    private let context: EntryContext
    weak var delegate: (any PlainExitDelegate)?
    private var seen = EventDeduplicator(capacity: 8_192)
    /// Whether the exit did not connect to this entry when it was requested to (CONNECTR).
    private var ignoresReverse = false

    /// Nil if the exit's key is not on the curve.
    init?(_ exit: PublicKey, ownKey: SecretKey, destination: String, context: EntryContext) {
        var configuration = context.configuration.nip74
        let session = context.configuration.session
        configuration.offerPatience = (session.offerPatience, session.offerTimeout)
        configuration.offerRepetition = session.offerRepetition
        let link = try? PlainLink(
            peer: exit,
            ownKey: ownKey,
            engine: NIP74StateMachine(role: .entry(name: destination), configuration: configuration),
            loop: context.loop,
            metrics: context.metrics,
            logger: context.logger
        )
        guard let link else { return nil }
        self.link = link
        self.exit = exit
        self.destination = destination
        self.context = context
        link.delegate = self
    }

    /// Processes an event whose author is the exit.
    func receive(_ event: Event, for key: PublicKey, path: PathID) {
        guard !self.seen.contains(event.id) else { return self.context.metrics.rejected(.duplicate) }
        guard self.context.verifier.verify(event), self.seen.insert(event.id),
            let message = self.link.open(event, recipient: key)
        else { return }
        self.link.receive(message, path: path)
    }

    // MARK: Streams

    /// Opens a stream.
    ///
    /// - Parameter paths: The paths on which the exit may listen, in order of preference.
    func open(_ opening: StreamOpening, _ request: StreamRequest, paths: [(path: PathID, relay: RelayConnection)]) {
        if self.openReverse(opening, request, paths) { return }
        self.link.open(request, paths: paths.map(\.path), endpoint: opening)
    }

    /// Requests that the exit connect to this entry (CONNECTR). Returns false if the stream must use relays instead.
    private func openReverse(
        _ opening: StreamOpening,
        _ request: StreamRequest,
        _ paths: [(path: PathID, relay: RelayConnection)]
    ) -> Bool {
        guard let address = self.context.configuration.publicAddress, !self.ignoresReverse else { return false }
        let key = EntryContext.makeUUID()
        let isWaiting = self.context.reverse.expect(key, opening) { [weak self] in
            self?.reverseTimedOut(opening, request, paths)
        }
        guard isWaiting else {
            self.context.metrics.reached(.reverseConnections)
            return false
        }
        let message = NIP74Message.connectReverse(key: key, destination: self.destination, address: "\(address)")
        if let sealed = try? self.link.sealer.seal(message.encoded(), createdAt: Moment.now.seconds) {
            for relay in paths.map(\.relay) where relay.isOpen { sealed.publish(on: relay) { _ in } }
        }
        return true
    }

    /// The exit did not connect: it is not configured to, or cannot reach this entry. Its streams use relays from now
    /// on.
    private func reverseTimedOut(
        _ opening: StreamOpening,
        _ request: StreamRequest,
        _ paths: [(path: PathID, relay: RelayConnection)]
    ) {
        if !self.ignoresReverse {
            self.ignoresReverse = true
            self.context.logger.info(
                "exit does not connect to the public address of this entry; using relays instead",
                metadata: ["exit": "\(self.exit.npub)"]
            )
        }
        self.link.open(request, paths: paths.map(\.path), endpoint: opening)
    }
}

extension PlainExit: PeerLinkDelegate {
    func link(_ link: PlainLink, isAskedFor request: StreamRequest, as id: StreamID) -> StreamDecision {
        .refused(.notAllowed)
    }

    func link(_ link: PlainLink, didReceive signal: NIP74Signal) {
        switch signal {
        case .exitSpoke: self.context.memory.spokePlain(self.exit)
        // Only exits receive these signals.
        case .offered, .reverse: break
        }
    }

    func link(_ link: PlainLink, wasRejectedBy relay: RelayConnection) { self.context.warnOfRejection(by: relay) }

    func linkDidBecomeIdle(_ link: PlainLink) { self.delegate?.plainExitDidBecomeIdle(self) }
}
