//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import DequeModule
import NIOCore
import Nostr
import NostrCrypto

extension NIP74Dialect {
    public mutating func receive(_ plaintext: [UInt8], createdAt: Int64, path: PathID, at now: Moment) {
        guard let message = NIP74Message(plaintext: plaintext) else {
            self.actions.append(.report(.malformedMessage))
            return
        }
        self.newestPeerDate = max(self.newestPeerDate, createdAt)
        if self.isEntry {
            self.receiveAsEntry(message, path: path, at: now)
        } else {
            self.receiveAsExit(message, createdAt: createdAt, path: path, at: now)
        }
    }

    // MARK: Exit

    private mutating func receiveAsExit(_ message: NIP74Message, createdAt: Int64, path: PathID, at now: Moment) {
        switch message.kind {
        case .connect:
            self.receiveConnect(message, createdAt: createdAt, path: path, at: now)
        case .connectReverse:
            self.actions.append(.report(.reverseConnect))
        case .data, .socks5Response, .fin:
            guard let id = self.streamsByKey[message.key] else {
                self.keepOrphan(message, path: path, at: now)
                return
            }
            self.receiveOnStream(id, message, at: now)
        case .reset, .ping:
            guard let id = self.streamsByKey[message.key] else {
                self.actions.append(.report(.unknownStream))
                if message.kind == .ping {
                    self.answerUnknownStream(message, path: path, reason: .connectionReset, at: now)
                }
                return
            }
            self.receiveOnStream(id, message, at: now)
        case .accept, .opened, .pong:
            self.actions.append(.report(.wrongDirection))
        case .other:
            self.actions.append(.report(.unknownType))
        }
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
        let isExtended = message.extensions?.versions.contains(NIP74Configuration.extensionVersion) == true
        guard NIP74Configuration.connectWindow.contains(createdAt - now.seconds) else {
            self.actions.append(.report(.staleConnect))
            if isExtended { self.answerUnknownStream(message, path: path, reason: .clockSkew, at: now) }
            return
        }
        guard self.streams.count < self.configuration.streams, self.paths[path] != nil else {
            self.actions.append(.report(.tooManyStreams))
            if isExtended { self.answerUnknownStream(message, path: path, reason: .tooManyStreams, at: now) }
            return
        }
        let id = self.makeStreamID()
        var stream = NIP74Stream(
            id: id,
            key: message.key,
            path: path,
            phase: .dialling,
            peer: isExtended ? .extended : .plain,
            now: now.monotonic
        )
        if isExtended { stream.sendQueue.append(.control(.accept)) }
        self.streams[id] = stream
        self.streamsByKey[message.key] = id
        self.actions.append(
            .incoming(id, StreamRequest(destination: message.destination, port: message.extensions?.port))
        )
        self.pump(id, at: now)
        if message.payload != nil { self.receiveData(id, message, at: now) }
        self.adoptOrphans(of: message.key, as: id, at: now)
        self.schedule(id, at: now)
    }

    // MARK: Messages before their CONNECT

    private mutating func keepOrphan(_ message: NIP74Message, path: PathID, at now: Moment) {
        let size = Self.size(of: message)
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

    /// What keeping a message costs.
    private static func size(of message: NIP74Message) -> Int {
        let payload =
            switch message.payload {
            case .bytes(let bytes), .text(let bytes): bytes.count
            case nil: 0
            }
        return payload + message.destination.utf8.count + 256
    }

    // MARK: Entry

    private mutating func receiveAsEntry(_ message: NIP74Message, path: PathID, at now: Moment) {
        switch message.kind {
        case .connect, .connectReverse, .ping:
            self.actions.append(.report(.wrongDirection))
            return
        case .other:
            self.actions.append(.report(.unknownType))
            return
        case .data, .socks5Response, .accept, .opened, .fin, .reset, .pong:
            break
        }
        guard let id = self.streamsByKey[message.key], let stream = self.streams[id] else {
            self.actions.append(.report(.unknownStream))
            if self.peerIsExtended, message.kind != .reset {
                self.answerUnknownStream(message, path: path, reason: .connectionReset, at: now)
            }
            return
        }
        switch stream.phase {
        case .connecting, .waiting:
            // The exit spoke, so it has CONNECT, and answers on the relay by which it came.
            if case .connecting(let token) = stream.phase { self.tokenOwners[token] = nil }
            if self.paths[path] != nil { self.streams[id]?.path = path }
            self.streams[id]?.phase = .waiting
        case .dialling, .open:
            // A plain exit's first word tells where it listens.
            if !stream.hasHeard, self.paths[path] != nil { self.streams[id]?.path = path }
        }
        self.receiveOnStream(id, message, at: now)
    }

    // MARK: Both

    private mutating func receiveOnStream(_ id: StreamID, _ message: NIP74Message, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        self.streams[id]?.hasHeard = true
        self.streams[id]?.lastHeard = now.monotonic
        self.streams[id]?.lastActivity = now.monotonic
        switch message.kind {
        case .data, .socks5Response:
            if stream.phase == .waiting {
                // Data without an acceptance: an exit that speaks plain NIP-74.
                if stream.peer == .unknown { self.streams[id]?.peer = .plain }
                self.becomeOpen(id, at: now)
            }
            self.receiveData(id, message, at: now)
        case .accept:
            guard message.extensions?.versions == [NIP74Configuration.extensionVersion] else {
                self.actions.append(.report(.malformedMessage))
                return
            }
            self.becomeExtended(id, at: now)
            if self.streams[id]?.phase == .waiting {
                let deadline = now.monotonic + self.configuration.openTimeout
                self.streams[id]?.phaseDeadline = deadline
            }
            self.schedule(id, at: now)
        case .opened:
            self.becomeExtended(id, at: now)
            if stream.phase == .waiting { self.becomeOpen(id, at: now) }
        case .fin:
            guard !stream.peerIsFinished else { return }
            self.streams[id]?.peerIsFinished = true
            self.actions.append(.finished(id))
            self.checkEnd(id, at: now)
        case .reset:
            self.end(id, message.reason ?? .connectionReset, tellPeer: false, at: now)
        case .ping:
            guard let path = self.paths[stream.path] else { return }
            let pong = NIP74Message(key: stream.key, kind: .pong, destination: path.destination)
            self.actions.append(
                .publish(
                    self.makeToken(),
                    plaintext: pong.encoded(),
                    createdAt: self.controlDate(at: now),
                    paths: [stream.path]
                )
            )
        case .pong, .connect, .connectReverse, .other:
            break
        }
    }

    /// The exit speaks our extension, and learns what the entry could not say before.
    private mutating func becomeExtended(_ id: StreamID, at now: Moment) {
        self.peerIsExtended = true
        guard let stream = self.streams[id], stream.peer != .extended else { return }
        self.streams[id]?.peer = .extended
        if stream.isFinished {
            self.streams[id]?.sendQueue.append(.control(.fin))
            self.pump(id, at: now)
        }
    }

    /// Tells the peer that it speaks on a stream that is not here, at most ten times a second.
    private mutating func answerUnknownStream(_ message: NIP74Message, path: PathID, reason: StreamEnd, at now: Moment)
    {
        guard let destination = self.paths[path]?.destination, self.nextUnknownStreamAnswer <= now.monotonic else {
            return
        }
        self.nextUnknownStreamAnswer = now.monotonic + .milliseconds(100)
        let reset = NIP74Message(key: message.key, kind: .reset, destination: destination, reason: reason)
        self.actions.append(
            .publish(
                self.makeToken(),
                plaintext: reset.encoded(),
                createdAt: self.controlDate(at: now),
                paths: [path]
            )
        )
    }

    private mutating func receiveData(_ id: StreamID, _ message: NIP74Message, at now: Moment) {
        guard let stream = self.streams[id] else { return }
        guard !stream.peerIsFinished else {
            // FIN overtook data: the end that was reported was not the end.
            self.end(id, .protocolViolation, tellPeer: true, at: now)
            return
        }
        if message.kind == .data { self.streams[id]?.peerSaysData = true }
        let bytes: [UInt8]
        switch message.payload {
        case nil:
            return
        case .bytes(let decoded) where stream.isText && message.kind != .socks5Response:
            // Text that happens to be base64, on a stream that is in the text form.
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
