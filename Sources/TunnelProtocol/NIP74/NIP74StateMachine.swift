//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
package import NIOCore
import Nostr
package import NostrCrypto

/// The state machine for plain NIP-74 as the reference implements it. It also offers sessions, and falls back to plain
/// NIP-74 if no session is accepted.
///
/// There is one value per peer: at an entry for one exit and one client key, at an exit for one client key. Streams
/// are identified by the UUID in each message. They are bound to the peer's key, so knowing a UUID is not enough to
/// inject data.
///
/// NIP-74 has no sequence numbers, so a stream uses one relay. If that relay is lost, bytes may be lost too, so the
/// stream is reset instead of continued with a gap.
package struct NIP74StateMachine: StreamEngine {
    package typealias Signal = NIP74Signal
    package static let recognizesRepeatedMessages = false

    /// The side of the tunnel.
    package enum Role: Sendable {
        /// Opens streams. Every message contains the name, because the reference's exit cannot parse a message without
        /// it.
        case entry(name: String)
        /// Connects to targets. Every message contains the client's key, as in the reference.
        case exit(client: PublicKey)
    }

    enum TimerKey: Hashable, Sendable {
        case stream(StreamID)
        case orphans
        case offers
    }

    struct Path {
        var description: PathDescription
        var isWritable = true
        /// The `destination` field of messages on this path.
        var destination: String
    }

    /// A message that arrived before its CONNECT.
    struct Orphan {
        let message: NIP74Message
        let path: PathID
        let expires: NIODeadline
    }

    /// A client's offer that was not accepted and not followed by data yet (exit).
    struct HeldOffer {
        let message: NIP74Message
        let createdAt: Int64
        let expires: NIODeadline
    }

    let role: Role
    let configuration: NIP74Configuration
    private var generator: any RandomNumberGenerator & Sendable
    private var nextRawToken: UInt64 = 0
    private var nextRawStream: UInt64 = 0

    var paths: [PathID: Path] = [:]
    var streams: [StreamID: NIP74Stream] = [:]
    var streamsByKey: [String: StreamID] = [:]
    /// The streams of messages in flight.
    var tokenOwners: [MessageToken: StreamID] = [:]
    var endedKeys: Set<String> = []
    var endedKeyOrder: Deque<String> = []
    var orphans: Deque<Orphan> = []
    var orphanBytes = 0
    var timers = TimerQueue<TimerKey>()
    var actions: Deque<StreamAction<NIP74Signal>> = []
    /// Offers by their UUID (exit).
    var offers: [String: HeldOffer] = [:]
    /// UUIDs of offers that became sessions. ``endedKeys`` contains them too.
    var acceptedKeys: Set<String> = []
    /// Whether ``NIP74Signal/exitSpoke`` was reported.
    var exitHasSpoken = false
    /// Date of the newest event from the peer.
    var newestPeerDate: Int64 = 0

    /// - Parameter generator: The random number generator for the UUIDs of new streams.
    package init(
        role: Role,
        configuration: NIP74Configuration = NIP74Configuration(),
        generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.role = role
        self.configuration = configuration
        self.generator = generator
    }

    // MARK: State

    package var streamCount: Int { self.streams.count }

    package var isIdle: Bool {
        self.streams.isEmpty && self.orphans.isEmpty && self.tokenOwners.isEmpty && self.offers.isEmpty
    }

    package var nextDeadline: NIODeadline? { self.timers.nextDeadline }

    package mutating func nextAction() -> StreamAction<NIP74Signal>? { self.actions.popFirst() }

    var isEntry: Bool {
        switch self.role {
        case .entry: true
        case .exit: false
        }
    }

    mutating func makeToken() -> MessageToken {
        self.nextRawToken += 1
        return MessageToken(rawValue: self.nextRawToken)
    }

    mutating func makeStreamID() -> StreamID {
        self.nextRawStream += 1
        return StreamID(rawValue: self.nextRawStream)
    }

    /// A UUID of version 4, lower case (RFC 9562).
    package static func makeKey(using generator: inout some RandomNumberGenerator) -> String {
        let high = generator.next() & 0xffff_ffff_ffff_0fff | 0x4000
        let low = generator.next() & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000
        let bytes = [high, low].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - $0 * 8)) }
        }
        let digits = Array(Hex.encode(bytes))
        return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(digits[$0]) }.joined(separator: "-")
    }

    // MARK: Paths

    package mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment) {
        let destination =
            switch self.role {
            case .entry(let name): name
            case .exit(let client): NIP19.nprofile(client, relays: [description.relay]).encoded
            }
        self.paths[path] = Path(
            description: description,
            isWritable: self.paths[path]?.isWritable ?? true,
            destination: destination
        )
    }

    package mutating func removePath(_ path: PathID, at now: Moment) {
        guard self.paths.removeValue(forKey: path) != nil else { return }
        for (id, stream) in self.streams where stream.path == path {
            // The outcome of a CONNECT in flight decides. Before the exit answers, a stream without data in flight
            // moves to another relay.
            if case .connecting = stream.phase { continue }
            if self.isEntry, !stream.hasHeard, stream.inFlight.isEmpty, let other = self.paths.keys.first {
                self.streams[id]?.path = other
                continue
            }
            self.end(id, .relayLost, tellPeer: true, at: now)
        }
    }

    package mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment) {
        guard self.paths[path] != nil else { return }
        self.paths[path]?.isWritable = isWritable
        guard isWritable else { return }
        for (id, stream) in self.streams where stream.path == path && !stream.sendQueue.isEmpty {
            self.pump(id, at: now)
        }
    }

    // MARK: Streams, from the driver

    /// Opens a stream (entry). The result is ``StreamAction/opened(_:)`` or ``StreamAction/ended(_:_:)``.
    ///
    /// - Parameter paths: The paths on which the exit may be subscribed, best first. Paths that were not added are
    /// ignored.
    package mutating func open(_ id: StreamID, _ request: StreamRequest, paths: [PathID], at now: Moment) {
        self.open(id, key: self.makeKey(), offer: nil, paths: paths, at: now)
    }

    /// Opens a stream and offers a session with it (entry).
    ///
    /// ``offerSettled(_:at:)`` removes the stream when the session has started. If the offer allows a fallback, data
    /// from the exit or no answer turns the stream into a plain stream.
    package mutating func open(_ id: StreamID, offering offer: OutgoingOffer, paths: [PathID], at now: Moment) {
        self.open(id, key: offer.key, offer: offer, paths: paths, at: now)
    }

    private mutating func makeKey() -> String {
        var generator = self.generator
        defer { self.generator = generator }
        return Self.makeKey(using: &generator)
    }

    private mutating func open(
        _ id: StreamID,
        key: String,
        offer: OutgoingOffer?,
        paths: [PathID],
        at now: Moment
    ) {
        let usable = paths.filter { self.paths[$0] != nil }
        guard let first = usable.first else {
            self.actions.append(.ended(id, .noRelay))
            return
        }
        var stream = NIP74Stream(
            id: id,
            key: key,
            path: first,
            phase: .connecting(MessageToken(rawValue: 0)),
            now: now.monotonic
        )
        stream.phaseDeadline = now.monotonic + self.configuration.connectTimeout
        stream.connectPaths = usable
        stream.offer = offer?.terms
        stream.mayFallBack = offer?.mayFallBack ?? true
        self.streams[id] = stream
        self.streamsByKey[stream.key] = id
        self.publishConnect(id, at: now)
    }

    /// Removes the plain stream of an offer whose session has started.
    package mutating func offerSettled(_ key: String, at now: Moment) {
        self.offers[key] = nil
        if let id = self.streamsByKey[key] { self.forget(id) }
        self.remember(key)
        self.acceptedKeys.insert(key)
    }

    package mutating func close(_ reason: StreamEnd?, at now: Moment) {
        for id in self.streams.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
            self.end(id, reason ?? .shuttingDown, tellPeer: true, at: now)
        }
    }

    /// Publishes CONNECT, or publishes it again as a new event.
    mutating func publishConnect(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        // CONNECT also goes to relays outside of `connectPaths`, for example to those added since the stream was
        // opened.
        let others = self.paths.keys.filter { !stream.connectPaths.contains($0) }.sorted { $0.rawValue < $1.rawValue }
        let usable = stream.connectPaths.filter { self.paths[$0] != nil } + others
        guard let first = usable.first, let destination = self.paths[first]?.destination else {
            self.end(id, .noRelay, tellPeer: false, at: now)
            return
        }
        let token = self.makeToken()
        let message = NIP74Message(
            key: stream.key,
            // The reference connects to the target for every CONNECT that it receives, so a repetition is an OFFER.
            kind: stream.connectIsUnheard ? .connect : .offer,
            destination: destination,
            terms: stream.offer
        )
        self.streams[id]?.lastDate = now.seconds
        if stream.connectIsUnheard {
            self.streams[id]?.connectIsUnheard = false
            self.streams[id]?.phase = .connecting(token)
            self.tokenOwners[token] = id
        } else {
            // A relay has accepted CONNECT, so the outcome of a repetition is ignored.
            let due = now.monotonic + self.configuration.offerRepetition
            self.streams[id]?.connectDue = due
        }
        // CONNECT is dated with the current time, because an exit may reject other dates. It is sent as one event to
        // every relay, because the exit may have lost its connection to any of them. The exit drops duplicates.
        self.actions.append(
            .publish(token, plaintext: message.encoded(), createdAt: now.seconds, paths: usable)
        )
        self.schedule(id, at: now)
    }

    package mutating func connected(_ id: StreamID, at now: Moment) {
        guard self.streams[id]?.phase == .dialling else { return }
        self.streams[id]?.phase = .open
        self.streams[id]?.phaseDeadline = nil
        self.streams[id]?.lastActivity = now.monotonic
        self.actions.append(.credit(id, self.configuration.sendBuffer))
        self.pump(id, at: now)
        self.schedule(id, at: now)
    }

    package mutating func send(_ id: StreamID, _ data: ByteBuffer, at now: Moment) {
        guard let stream = self.streams[id], !stream.isFinished, data.readableBytes > 0 else { return }
        self.streams[id]?.sendQueue.append(data)
        self.streams[id]?.sendQueueBytes += data.readableBytes
        self.pump(id, at: now)
    }

    package mutating func finish(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id], !stream.isFinished else { return }
        self.streams[id]?.isFinished = true
        self.checkEnd(id, at: now)
    }

    package mutating func reset(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard self.streams[id] != nil else { return }
        self.sendEnd(id, reason, at: now)
        self.forget(id)
    }

    package mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        // NIP-74 has no error message, and an entry cannot signal the end of a stream. Only an exit has something left
        // to send: its data and the closing message.
        guard !self.isEntry, case .open = stream.phase else {
            return self.end(id, reason, tellPeer: true, at: now)
        }
        self.streams[id]?.dropsInput = true
        self.finish(id, at: now)
    }

    package mutating func consumed(_ id: StreamID, _ bytes: Int, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        self.streams[id]?.unconsumed = max(0, stream.unconsumed - bytes)
    }

    // MARK: Ends

    /// Ends a stream and reports `reason` to the driver. With `tellPeer`, an exit also sends the closing message.
    mutating func end(_ id: StreamID, _ reason: StreamEnd?, tellPeer: Bool, at now: Moment) {
        guard self.streams[id] != nil else { return }
        if tellPeer, let reason { self.sendEnd(id, reason, at: now) }
        self.forget(id)
        self.actions.append(.ended(id, reason))
    }

    private mutating func forget(_ id: StreamID) {
        guard let stream = self.streams.removeValue(forKey: id) else { return }
        self.streamsByKey[stream.key] = nil
        for message in stream.inFlight {
            self.tokenOwners[message.token] = nil
        }
        if case .connecting(let token) = stream.phase { self.tokenOwners[token] = nil }
        self.timers.cancel(.stream(id))
        self.remember(stream.key)
    }

    /// Records that a stream has ended, so that its late messages are dropped.
    mutating func remember(_ key: String) {
        if self.endedKeys.insert(key).inserted { self.endedKeyOrder.append(key) }
        while self.endedKeyOrder.count > self.configuration.rememberedStreams,
            let oldest = self.endedKeyOrder.popFirst()
        {
            self.endedKeys.remove(oldest)
            self.acceptedKeys.remove(oldest)
        }
    }

    /// Sends the closing message to a reference entry. Does nothing at an entry, because NIP-74 has no such message
    /// for exits.
    private mutating func sendEnd(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        guard !self.isEntry, reason != .replayed, let stream = self.streams[id] else { return }
        let candidates = [stream.path] + self.paths.keys.filter { $0 != stream.path }
        guard let path = candidates.first(where: { self.paths[$0] != nil }) else { return }
        self.actions.append(
            .publish(
                self.makeToken(),
                plaintext: NIP74Configuration.plainCloseMessage,
                createdAt: self.controlDate(after: stream.lastDate, at: now),
                paths: [path]
            )
        )
    }

    /// Ends a stream when both directions are finished. If only an exit's own direction is, schedules the closing
    /// message.
    mutating func checkEnd(_ id: StreamID, at now: Moment) {
        guard let stream = self.streams[id], stream.isFinished, stream.isFlushed else { return }
        if stream.peerIsFinished {
            self.end(id, nil, tellPeer: false, at: now)
            return
        }
        // A reference entry detects the end by the closing message. The delay gives it time to read the data first.
        guard !self.isEntry, stream.plainCloseDue == nil else { return }
        let due = (stream.lastPublished ?? now.monotonic) + self.configuration.plainCloseDelay
        self.streams[id]?.plainCloseDue = due
        self.schedule(id, at: now)
    }
}
