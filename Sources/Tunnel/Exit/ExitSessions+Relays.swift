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

/// The relays of sessions, which are their paths: the configured ones, this node's own, and those that clients name.
extension ExitSessions {
    /// The path of the relay that this node runs.
    private static let directPath = PathID(rawValue: SessionConfiguration.exitPaths - 1)
    /// Configured relays that have a number; the last is kept for this node's own.
    private static let maximumRelays = SessionConfiguration.exitPaths - 1
    /// Relays at once that clients named; more are not dialled.
    private static let maximumClientRelays = 64

    static func isLane(_ lane: String) -> Bool { lane == Self.lane || lane == Self.clientLane }

    func start(_ pool: RelayPool) {
        self.pool = pool
        for url in self.configuration.relays { self.addRelay(url) }
        if let direct = self.configuration.directRelay {
            let key = RelayPool.Key(url: direct.own, lane: Self.lane)
            _ = pool.use(key, policy: .own, authenticationKey: .generate())
            self.directRelay = key
        }
        self.makeSpares()
        self.enforceMemoryLater()
    }

    // MARK: Configured relays

    private func addRelay(_ url: RelayURL) {
        let key = RelayPool.Key(url: url, lane: Self.lane)
        guard !self.relays.contains(key) else { return }
        // A number that was another relay's only when there is no fresh one: sessions under way take it for that one.
        let free = self.relays.count < Self.maximumRelays ? self.relays.count : self.relays.firstIndex(of: nil)
        guard let free else {
            self.logger.warning("too many relays; sessions do not use this one", metadata: ["relay.url": "\(url)"])
            return
        }
        // A relay that cannot be used keeps its place.
        _ = self.pool?.use(
            key,
            policy: .configured,
            authenticationKey: self.configuration.relayAuthenticationKey ?? .generate()
        )
        let path = PathID(rawValue: free)
        if free == self.relays.count { self.relays.append(key) } else { self.relays[free] = key }
        for spare in self.spares {
            self.pool?.connection(key)?.addRecipient(spare.publicKey, catchesUp: false) {}
        }
        let offer = SessionPathOffer(path: path, relay: self.configuration.advertised(url).text, isDirect: false)
        for session in self.sessions {
            for own in session.link.ownKeys { self.subscribe(own, key, path, session) {} }
            if session.isEstablished { session.link.offerPath(offer) }
        }
    }

    private func removeRelay(_ key: RelayPool.Key) {
        guard let index = self.relays.firstIndex(of: key), let connection = self.pool?.connection(key) else { return }
        for session in self.sessions {
            session.link.removePath(PathID(rawValue: index))
            for own in session.link.ownKeys { connection.removeRecipient(own) }
        }
        for spare in self.spares { connection.removeRecipient(spare.publicKey) }
        self.relays[index] = nil
        self.pool?.release(key)
    }

    /// Uses other relays from now on. Sessions under way go on by those that stay and those that come.
    func use(_ relays: [RelayURL]) {
        for key in self.relays.compactMap({ $0 }) where !relays.contains(key.url) { self.removeRelay(key) }
        for url in relays { self.addRelay(url) }
    }

    /// URLs by which clients reach the paths; an empty one where there is no relay any more.
    var pathNames: [String] {
        self.relays.map { $0.map { self.configuration.advertised($0.url).text } ?? "" }
    }

    /// Those that this node chose, each with a connection.
    var ownRelays: [RelayPool.Key] { self.relays.compactMap { $0 } + [self.directRelay].compactMap { $0 } }

    // MARK: Relays and paths

    private func relay(_ path: PathID, _ session: ExitSession?) -> RelayPool.Key? {
        if self.relays.indices.contains(path.rawValue) { return self.relays[path.rawValue] }
        if path == Self.directPath { return self.directRelay }
        return session?.clientRelays[path]
    }

    func connection(_ path: PathID, of offer: ExitSession.OfferID? = nil) -> RelayConnection? {
        let session = offer.flatMap { SessionPathOffer.isClients(path) ? self.byOffer[$0] : nil }
        return self.relay(path, session).flatMap { self.pool?.connection($0) }
    }

    func path(of relay: RelayPool.Key, _ session: ExitSession) -> PathID? {
        if let index = self.relays.firstIndex(of: relay) { return PathID(rawValue: index) }
        if relay == self.directRelay { return Self.directPath }
        return session.clientRelays.first { $0.value == relay }?.key
    }

    func url(of path: PathID) -> RelayURL? { self.relay(path, nil)?.url }

    func relayDown(_ relay: RelayPool.Key) {
        for session in self.sessions {
            if let path = self.path(of: relay, session) { session.link.removePath(path) }
        }
    }

    func writabilityChanged(_ relay: RelayPool.Key, _ isWritable: Bool) {
        for session in self.sessions {
            if let path = self.path(of: relay, session) { session.link.setWritable(path, isWritable) }
        }
    }

    func pathRefused(_ path: PathID) {
        guard let relay = self.relay(path, nil), self.refusedRelays.insert(relay).inserted else { return }
        self.logger.warning(
            "relay refuses events of unknown authors and carries no sessions; give it a key that it admits (--auth-key)",
            metadata: ["relay.url": "\(relay.url)"]
        )
    }

    // MARK: Hearing

    /// The relays of a session with their paths.
    private func places(of session: ExitSession) -> [(key: RelayPool.Key, path: PathID)] {
        var places = self.relays.enumerated().compactMap { index, key in
            key.map { (key: $0, path: PathID(rawValue: index)) }
        }
        if session.knowsDirectRelay, let directRelay { places.append((directRelay, Self.directPath)) }
        return places + session.clientRelays.sorted { $0.key.rawValue < $1.key.rawValue }.map { ($0.value, $0.key) }
    }

    /// Adds the relays on which a key is heard to its session's paths, now and whenever one comes back.
    func hear(_ key: PublicKey, _ session: ExitSession, heard: @escaping () -> Void = {}) {
        self.byKey[key] = session
        let places = self.places(of: session)
        let open = places.count { self.pool?.connection($0.key)?.isOpen == true }
        let barrier = HearingBarrier(open, loop: self.loop, completion: heard)
        for place in places { self.subscribe(key, place.key, place.path, session) { barrier.arrived() } }
    }

    private func subscribe(
        _ key: PublicKey,
        _ relay: RelayPool.Key,
        _ path: PathID,
        _ session: ExitSession,
        onReady: @escaping () -> Void
    ) {
        guard let connection = self.pool?.connection(relay) else { return }
        let bound = NIOLoopBound(session, eventLoop: self.loop)
        let boundSelf = NIOLoopBound(self, eventLoop: self.loop)
        connection.addRecipient(key, catchesUp: false) {
            guard let connection = boundSelf.value.pool?.connection(relay) else { return }
            bound.value.link.addPath(
                path,
                PathDescription(url: connection.url, information: connection.information)
            )
            boundSelf.value.answerUnanswered(bound.value, on: path)
            onReady()
        }
    }

    func unhear(_ key: PublicKey, _ session: ExitSession?) {
        self.byKey[key] = nil
        let own = self.ownRelays + (session.map { Array($0.clientRelays.values) } ?? [])
        for relay in own { self.pool?.connection(relay)?.removeRecipient(key) }
    }

    // MARK: Direct paths

    /// Tells a client of the relay that this node runs, once.
    func offerDirectRelay(to session: ExitSession) {
        guard let directRelay, let direct = self.configuration.directRelay, !session.knowsDirectRelay else { return }
        session.knowsDirectRelay = true
        for own in session.link.ownKeys { self.subscribe(own, directRelay, Self.directPath, session) {} }
        session.link.offerPath(SessionPathOffer(path: Self.directPath, relay: direct.offered.text, isDirect: true))
    }

    /// A client names a relay: it is dialled if that is allowed, and its address too.
    func takePath(_ offer: SessionPathOffer, of link: PeerLink) {
        guard let policy = self.configuration.clientRelays, let session = self.session(of: link),
            session.clientRelays[offer.path] == nil, let url = try? RelayURL(offer.relay),
            !self.ownRelays.contains(where: { $0.url == url }),
            !session.clientRelays.values.contains(where: { $0.url == url })
        else { return }
        // Who is not on the list has nothing dialled. Whether it is may come later than the relay.
        if let access = self.configuration.access {
            guard let identity = link.identity else {
                if session.offeredRelays.count < SessionConfiguration.clientPaths {
                    session.offeredRelays.append(offer)
                }
                return
            }
            guard access.knows(identity, at: Moment.now.seconds) else { return }
        }
        let key = RelayPool.Key(url: url, lane: Self.clientLane)
        guard
            self.pool?.connection(key) != nil
                || (self.pool?.connections(of: Self.clientLane).count ?? 0) < Self.maximumClientRelays,
            self.pool?.use(key, policy: policy, authenticationKey: .generate()) != nil
        else {
            self.metrics.reached(.clientRelays)
            return
        }
        session.clientRelays[offer.path] = key
        for own in link.ownKeys { self.subscribe(own, key, offer.path, session) {} }
    }

    /// The client said who it is.
    func takeOfferedRelays(of session: ExitSession) {
        let offers = session.offeredRelays
        session.offeredRelays = []
        for offer in offers { self.takePath(offer, of: session.link) }
    }

    func releaseClientRelays(of session: ExitSession) {
        for relay in session.clientRelays.values { self.pool?.release(relay) }
        session.clientRelays = [:]
    }
}
