//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import CoreMetrics
import Logging
import NIOCore
import Nostr
import NostrClient
import NostrCrypto
import TunnelProtocol

/// The life of a session at the entry, from the exit's acceptance on.
extension EntryCore {
    // MARK: Sessions

    /// Longer than questions are apart.
    private static let silence: TimeAmount = .seconds(40)

    func begin(
        _ association: EntryAssociation,
        _ offer: EntryOffer,
        _ acceptance: SessionAcceptance,
        body: [UInt8],
        peer: PublicKey,
        path: PathID
    ) {
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        let key = association.key
        guard let ownKey = association.ownKey else { return }
        let link: PeerLink
        do {
            link = try PeerLink(
                peer: peer,
                ownKey: ownKey,
                dialect: SessionStateMachine(
                    role: .client,
                    configuration: self.sessionConfiguration,
                    peer: acceptance.parameters,
                    identity: try self.identity(of: association, acceptance, body: body, peer: peer),
                    now: Moment.now
                ),
                loop: self.loop,
                metrics: self.metrics,
                logger: self.logger,
                owner: PeerLink.Owner(
                    hear: { bound.value.hear($1, of: key, heard: $2) },
                    unhear: { bound.value.unhear($1, of: key) },
                    askPeer: { bound.value.askPeer($0, of: key) },
                    pathRefused: { bound.value.pathRefused($1, of: key) },
                    pathOffered: { bound.value.takePath($1, of: key) },
                    becameIdle: { bound.value.streamEnded() },
                    closed: { _, reason in bound.value.sessionClosed(key, reason) }
                ),
                connections: { bound.value.sessionConnection($0, of: key) }
            )
        } catch {
            self.metrics.rejected(.invalidAnswer)
            return
        }
        offer.link.offerSettled(offer.outgoing.key)
        offer.link.abandon()
        association.carrier = .session(link)
        association.ownKey = nil
        // The exit takes all of it or nothing.
        if let early = offer.outgoing.terms.earlyData, acceptance.parameters.earlyBytes == UInt64(early.bytes.count) {
            association.earlyBytes = early.bytes.count
        }
        self.metrics.sessionsOpened.increment()
        self.logger.info("session began", metadata: ["exit": "\(association.address.publicKey.npub)"])
        self.pin(association.address.publicKey)
        self.mapRelays(of: association, acceptance, path)
        for path in association.ready.sorted(by: { $0.rawValue < $1.rawValue }) {
            self.addSessionPath(path, of: association)
        }
        self.offerDirectRelay(to: association, link, acceptance)
        self.serveWaiting(of: association)
    }

    /// Who we are, for an exit that asks.
    func identity(
        of association: EntryAssociation,
        _ acceptance: SessionAcceptance,
        body: [UInt8],
        peer: PublicKey
    ) throws -> ClientIdentity? {
        guard acceptance.parameters.wantsIdentity else { return nil }
        guard let key = self.configuration.identity else {
            self.logger.warning(
                "exit asks who is there, and this entry has no identity (--identity)",
                metadata: ["exit": "\(association.address.publicKey.npub)"]
            )
            return nil
        }
        return try ClientIdentity(
            key,
            exit: association.address.publicKey,
            client: association.key,
            fresh: peer,
            acceptance: body
        )
    }

    /// Learns which of the exit's relays ours are: by their URLs, and where those differ by what came through.
    private func mapRelays(of association: EntryAssociation, _ acceptance: SessionAcceptance, _ path: PathID) {
        let urls = acceptance.relays.map { try? RelayURL($0) }
        let own = association.relays.map(\.url)
        // A relay that the exit knows by another address than we do: the answer shows which it is. A copy that another relay
        // made shows nothing, so what both call by one name goes first.
        if urls.indices.contains(acceptance.path.rawValue), own.indices.contains(path.rawValue),
            !urls.contains(own[path.rawValue]), urls[acceptance.path.rawValue].map(own.contains) != true
        {
            self.mapRelay(path, to: acceptance.path, of: association)
        }
        for (index, url) in urls.enumerated() {
            guard let url, !association.sessionPaths.values.contains(PathID(rawValue: index)) else { continue }
            // The exit may name relays that the name has no room for; they are others' words, and dialled as such.
            if !association.relays.contains(where: { $0.url == url }),
                association.relays.count < EntryConfiguration.maximumRelaysPerName
            {
                self.addRelay(url, policy: association.laterPolicy, to: association)
            }
            if let local = association.relays.firstIndex(where: { $0.url == url }) {
                association.sessionPaths[PathID(rawValue: local)] = PathID(rawValue: index)
            }
        }
        self.mapRelay(path, to: acceptance.path, of: association)
    }

    /// An acceptance for path `number` came by our relay `path`.
    private func mapRelay(_ path: PathID, to number: PathID, of association: EntryAssociation) {
        guard association.sessionPaths[path] == nil, !association.sessionPaths.values.contains(number) else { return }
        association.sessionPaths[path] = number
        if association.ready.contains(path) { self.addSessionPath(path, of: association) }
    }

    func addSessionPath(_ path: PathID, of association: EntryAssociation) {
        guard case .session(let link) = association.carrier, let number = association.sessionPaths[path],
            let connection = self.connection(path, of: association.key)
        else { return }
        link.addPath(number, PathDescription(url: connection.url, information: connection.information))
    }

    /// An answer that came inside of the session: an acceptance again, perhaps by another relay.
    func receiveRepeatedAnswer(_ plaintext: [UInt8], of association: EntryAssociation, path: PathID) {
        // It came under the session's own keys, so it is the exit's.
        if case .accepted(let acceptance)? = SessionAnswer(
            body: Array(plaintext.dropLast(SessionAnswer.signatureLength))
        ) {
            let known = association.sessionPaths.count
            self.mapRelay(path, to: acceptance.path, of: association)
            // It said nothing new.
            if association.sessionPaths.count == known { self.metrics.rejected(.duplicate) }
        }
    }

    private func localPath(_ number: PathID, of association: EntryAssociation) -> PathID? {
        association.sessionPaths.first { $0.value == number }?.key
    }

    func sessionConnection(_ number: PathID, of key: PublicKey) -> RelayConnection? {
        guard let association = self.associationsByKey[key], let path = self.localPath(number, of: association)
        else { return nil }
        return self.connection(path, of: key)
    }

    func hear(_ key: PublicKey, of first: PublicKey, heard: @escaping () -> Void) {
        guard let association = self.associationsByKey[first] else { return }
        self.register(key, association)
        let connections = association.relays.compactMap { self.pool?.connection($0) }
        let barrier = HearingBarrier(
            connections.count { $0.isOpen },
            loop: self.loop,
            completion: heard
        )
        for (index, relay) in association.relays.enumerated() {
            self.subscribe(key, to: relay, PathID(rawValue: index), of: association) { barrier.arrived() }
        }
    }

    func unhear(_ key: PublicKey, of first: PublicKey) {
        guard let association = self.associationsByKey[first], key != first else { return }
        self.unregister(key, association)
    }

    /// Asks the exit's long-term key whether it still has the session.
    func askPeer(_ link: PeerLink, of first: PublicKey) {
        guard let association = self.associationsByKey[first] else { return }
        let (own, peer) = link.currentKeys
        let key = Self.makeKey()
        let plaintext = SessionOffer.plaintext(
            self.makeTerms(session: peer),
            key: key,
            destination: self.destination(of: association),
            isRepetition: true
        )
        association.question = EntryQuestion(key: key, hash: Bytes32.sha256(of: plaintext), own: own)
        let bound = NIOLoopBound(self, eventLoop: self.loop)
        // The secret is not kept for longer than an answer may take.
        _ = self.loop.scheduleTask(in: self.configuration.session.offerTimeout) {
            guard let association = bound.value.associationsByKey[first], association.question?.key == key else {
                return
            }
            association.question = nil
        }
        let asking = try? PeerLink(
            peer: association.address.publicKey,
            ownKey: own,
            dialect: NIP74Dialect(role: .entry(name: "")),
            loop: self.loop,
            metrics: self.metrics,
            logger: self.logger,
            connections: { bound.value.connection($0, of: first) }
        )
        for path in association.ready { asking?.publish(plaintext, on: path) }
        // A silence is over when nobody had to be asked for a while.
        if association.askedAt.map({ $0 + Self.silence <= .now() }) ?? true { association.questions = 0 }
        association.askedAt = .now()
        association.questions += 1
        guard association.questions > 1, association.complainedAt.map({ $0 + .minutes(1) <= .now() }) ?? true else {
            return
        }
        association.complainedAt = .now()
        self.logger.warning(
            link.dialect.isDeserted
                ? "exit is gone from its relays; streams wait for it"
                : "exit is silent; streams wait for it",
            metadata: [
                "exit": "\(association.address.publicKey.npub)", "streams": "\(link.streamCount)",
                "seconds_at_most": "\(self.configuration.session.peerTimeout.nanoseconds / 1_000_000_000)",
            ]
        )
    }

    func pathRefused(_ number: PathID, of first: PublicKey) {
        guard let association = self.associationsByKey[first], let path = self.localPath(number, of: association)
        else { return }
        self.relayRefused(association.relays[path.rawValue].url)
    }

    private func sessionClosed(_ first: PublicKey, _ reason: StreamEnd?) {
        guard let association = self.associationsByKey[first] else { return }
        self.logger.info(
            "session ended",
            metadata: (association.link?.summary ?? [:]).merging(
                ["exit": "\(association.address.publicKey.npub)", "reason": "\(reason?.rawValue ?? "complete")"]
            ) { $1 }
        )
        if let reason { self.fail(association, reason) } else { self.forget(association) }
    }
}
