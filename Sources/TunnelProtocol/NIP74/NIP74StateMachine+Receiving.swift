//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import Nostr
import NostrCrypto

extension NIP74StateMachine {
    package mutating func receive(
        _ plaintext: [UInt8],
        createdAt: Int64,
        generation: Int,
        path: PathID,
        at now: Moment
    ) {
        guard let message = NIP74Message(plaintext: plaintext) else {
            if self.isEntry, plaintext == NIP74Configuration.plainCloseMessage {
                self.receiveClose(at: now)
            } else {
                self.actions.append(.report(.malformedMessage))
            }
            return
        }
        self.newestPeerDate = max(self.newestPeerDate, createdAt)
        if self.isEntry {
            self.receiveAsEntry(message, path: path, at: now)
        } else {
            let hash = message.terms == nil ? nil : Bytes32.sha256(of: plaintext)
            self.receiveAsExit(message, hash: hash, createdAt: createdAt, path: path, at: now)
        }
    }

    // MARK: Exit

    private mutating func receiveAsExit(
        _ message: NIP74Message,
        hash: Bytes32?,
        createdAt: Int64,
        path: PathID,
        at now: Moment
    ) {
        switch message.kind {
        case .connect, .offer:
            guard let hash, let terms = message.terms,
                self.configuration.takesOffers, terms.versions.contains(SessionConfiguration.version)
            else {
                if message.kind == .connect {
                    self.receiveConnect(message, createdAt: createdAt, path: path, at: now)
                } else {
                    self.actions.append(.report(.unknownType))
                }
                return
            }
            let offer = SessionOffer(
                key: message.key,
                terms: terms,
                plaintextHash: hash,
                createdAt: createdAt,
                path: path
            )
            self.receiveOffer(offer, message, at: now)
        case .connectReverse:
            self.receiveReverse(message, createdAt: createdAt, at: now)
        case .data, .socks5Response:
            if let id = self.streamsByKey[message.key] {
                self.receiveOnStream(id, message, at: now)
            } else if let held = self.offers.removeValue(forKey: message.key) {
                // The client did not receive the acceptance and uses plain NIP-74.
                self.receiveConnect(held.message, createdAt: held.createdAt, path: path, at: now)
                if let id = self.streamsByKey[message.key] { self.receiveOnStream(id, message, at: now) }
            } else {
                self.keepOrphan(message, path: path, at: now)
            }
        case .other:
            self.actions.append(.report(.unknownType))
        }
    }

    private mutating func receiveReverse(_ message: NIP74Message, createdAt: Int64, at now: Moment) {
        guard let address = message.entryPublicAddress else {
            self.actions.append(.report(.malformedMessage))
            return
        }
        guard self.streamsByKey[message.key] == nil, !self.endedKeys.contains(message.key) else {
            self.actions.append(.report(.duplicateConnect))
            return
        }
        guard NIP74Configuration.connectWindow.contains(createdAt - now.seconds) else {
            self.actions.append(.report(.staleConnect))
            return
        }
        // The exit writes the UUID to the connection that it opens, so the length is fixed.
        guard message.key.utf8.count == NIP74Message.reverseKeyLength else {
            self.actions.append(.report(.malformedMessage))
            return
        }
        self.remember(message.key)
        self.actions.append(
            .signal(
                .reverse(
                    ReverseRequest(
                        destination: message.destination,
                        connect: StreamRequest.Connect(key: message.key, createdAt: createdAt),
                        address: address
                    )
                )
            )
        )
    }

    private mutating func receiveOffer(_ offer: SessionOffer, _ message: NIP74Message, at now: Moment) {
        guard NIP74Configuration.connectWindow.contains(offer.createdAt - now.seconds) else {
            self.actions.append(.report(.staleConnect))
            return
        }
        // A client that asks whether the exit still has a session needs no stream.
        guard offer.terms.session == nil else {
            self.actions.append(.signal(.offered(offer)))
            return
        }
        guard self.streamsByKey[offer.key] == nil, !self.endedKeys.contains(offer.key) else {
            self.actions.append(.report(.duplicateConnect))
            return
        }
        if self.offers[offer.key] == nil {
            guard self.offers.count < self.configuration.offers else {
                self.actions.append(.report(.tooManyStreams))
                return
            }
            let expires = now.monotonic + self.configuration.offerLifetime
            self.offers[offer.key] = HeldOffer(message: message, createdAt: offer.createdAt, expires: expires)
            self.timers.schedule(.offers, at: expires)
        }
        // Data that arrived before the offer means plain NIP-74, as data that arrives after it does.
        if self.orphans.contains(where: { $0.message.key == offer.key }),
            let held = self.offers.removeValue(forKey: offer.key)
        {
            self.receiveConnect(held.message, createdAt: held.createdAt, path: offer.path, at: now)
        } else {
            self.actions.append(.signal(.offered(offer)))
        }
    }

    mutating func expireOffers(at now: Moment) {
        self.offers = self.offers.filter { $0.value.expires > now.monotonic }
        if let next = self.offers.values.map(\.expires).min() { self.timers.schedule(.offers, at: next) }
    }

    private mutating func receiveConnect(
        _ message: NIP74Message,
        createdAt: Int64,
        path: PathID,
        at now: Moment
    ) {
        guard self.streamsByKey[message.key] == nil, !self.endedKeys.contains(message.key) else {
            self.actions.append(.report(.duplicateConnect))
            return
        }
        guard NIP74Configuration.connectWindow.contains(createdAt - now.seconds) else {
            self.actions.append(.report(.staleConnect))
            return
        }
        guard self.streams.count < self.configuration.streams, self.paths[path] != nil else {
            self.actions.append(.report(.tooManyStreams))
            return
        }
        let id = self.makeStreamID()
        self.streams[id] = NIP74Stream(
            id: id,
            key: message.key,
            path: path,
            phase: .dialling,
            now: now.monotonic
        )
        self.streamsByKey[message.key] = id
        let request = StreamRequest(
            destination: message.destination,
            port: nil,
            connect: StreamRequest.Connect(key: message.key, createdAt: createdAt)
        )
        self.actions.append(.incoming(id, request))
        if message.payload != nil { self.receiveData(id, message, at: now) }
        self.adoptOrphans(of: message.key, as: id, at: now)
        self.schedule(id, at: now)
    }

    // MARK: Messages before their CONNECT

    private mutating func keepOrphan(_ message: NIP74Message, path: PathID, at now: Moment) {
        let size = Self.size(of: message)
        if self.acceptedKeys.contains(message.key) {
            self.actions.append(.report(.afterAcceptance))
            return
        }
        guard !self.endedKeys.contains(message.key), self.orphanBytes + size <= self.configuration.orphanBytes else {
            self.actions.append(.report(.unknownStream))
            return
        }
        let expires = now.monotonic + self.configuration.orphanTimeout
        self.orphans.append(Orphan(message: message, path: path, expires: expires))
        self.orphanBytes += size
        self.timers.schedule(.orphans, at: expires)
    }

    private mutating func adoptOrphans(of key: String, as id: StreamID, at now: Moment) {
        guard self.orphans.contains(where: { $0.message.key == key }) else { return }
        let own = self.orphans.filter { $0.message.key == key }
        self.orphans.removeAll { $0.message.key == key }
        for orphan in own {
            self.orphanBytes -= Self.size(of: orphan.message)
            self.receiveOnStream(id, orphan.message, at: now)
        }
    }

    mutating func expireOrphans(at now: Moment) {
        while let first = self.orphans.first, first.expires <= now.monotonic {
            self.orphans.removeFirst()
            self.orphanBytes -= Self.size(of: first.message)
            self.actions.append(.report(.unknownStream))
        }
        if let first = self.orphans.first { self.timers.schedule(.orphans, at: first.expires) }
    }

    /// The number of bytes that a kept message counts against ``NIP74Configuration/orphanBytes``.
    private static func size(of message: NIP74Message) -> Int {
        let payload =
            switch message.payload {
            case .bytes(let bytes), .text(let bytes): bytes.count
            case nil: 0
            }
        return payload + message.destination.utf8.count + (message.entryPublicAddress?.utf8.count ?? 0) + 256
    }

    // MARK: Entry

    private mutating func receiveAsEntry(_ message: NIP74Message, path: PathID, at now: Moment) {
        switch message.kind {
        case .connect, .connectReverse, .offer:
            self.actions.append(.report(.wrongDirection))
            return
        case .other:
            self.actions.append(.report(.unknownType))
            return
        case .data, .socks5Response:
            break
        }
        guard let id = self.streamsByKey[message.key], let stream = self.streams[id] else {
            self.actions.append(.report(.unknownStream))
            return
        }
        guard stream.offer == nil || stream.mayFallBack else {
            self.actions.append(.report(.downgradeRefused))
            return
        }
        switch stream.phase {
        case .connecting, .waiting:
            // The exit answered, so it has received CONNECT. From now on the stream uses the relay that delivered the
            // answer.
            if case .connecting(let token) = stream.phase { self.tokenOwners[token] = nil }
            if self.paths[path] != nil { self.streams[id]?.path = path }
            // The exit sent data instead of an acceptance, so it uses plain NIP-74.
            if stream.offer != nil { self.actions.append(.report(.fellBackToPlain)) }
            self.streams[id]?.offer = nil
            self.becomeOpen(id, at: now)
        case .dialling, .open:
            // The relay that delivers the exit's first message is one to which the exit is connected.
            if !stream.hasHeard, self.paths[path] != nil { self.streams[id]?.path = path }
        }
        if !self.exitHasSpoken {
            self.exitHasSpoken = true
            self.actions.append(.signal(.exitSpoke))
        }
        self.receiveOnStream(id, message, at: now)
    }

    /// Handles the closing message of an exit. It names no stream, so it is ignored unless there is exactly one
    /// stream.
    private mutating func receiveClose(at now: Moment) {
        guard self.streams.count == 1, let id = self.streams.keys.first, let stream = self.streams[id],
            !stream.peerIsFinished
        else {
            self.actions.append(.report(.unknownStream))
            return
        }
        self.streams[id]?.peerIsFinished = true
        self.actions.append(.finished(id))
        self.checkEnd(id, at: now)
    }

    // MARK: Both

    private mutating func receiveOnStream(_ id: StreamID, _ message: NIP74Message, at now: Moment) {
        guard self.streams[id] != nil else { return }
        self.streams[id]?.hasHeard = true
        self.streams[id]?.lastHeard = now.monotonic
        self.streams[id]?.lastActivity = now.monotonic
        self.receiveData(id, message, at: now)
    }

    private mutating func receiveData(_ id: StreamID, _ message: NIP74Message, at now: Moment) {
        guard let stream = self.streams[id], !stream.dropsInput else { return }
        guard !stream.peerIsFinished else {
            // Data arrived after the closing message, so the reported end was premature.
            self.end(id, .protocolViolation, tellPeer: true, at: now)
            return
        }
        if message.kind == .data { self.streams[id]?.peerSaysData = true }
        let bytes: [UInt8]
        switch message.payload {
        case nil:
            return
        case .bytes(let decoded) where stream.isText && message.kind != .socks5Response:
            // On a stream in text form, this is text that is also valid base64.
            bytes = Array(Base64.encode(decoded))
        case .bytes(let decoded):
            bytes = decoded
        case .text(let text):
            guard message.kind != .socks5Response else {
                self.end(id, .protocolViolation, tellPeer: true, at: now)
                return
            }
            self.streams[id]?.isText = true
            bytes = text
        }
        guard !bytes.isEmpty else { return }
        self.streams[id]?.unconsumed += bytes.count
        guard stream.unconsumed + bytes.count <= self.configuration.receiveBuffer else {
            self.end(id, .readerTooSlow, tellPeer: true, at: now)
            return
        }
        self.actions.append(.data(id, ByteBuffer(bytes: bytes)))
    }
}
