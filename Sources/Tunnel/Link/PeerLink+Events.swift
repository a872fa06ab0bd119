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

extension PeerLink {
    // MARK: Events

    /// Whether an event between these keys belongs here.
    func knows(recipient: PublicKey, author: PublicKey) -> Bool {
        self.keys.pair(recipient: recipient, author: author) != nil
    }

    /// What an event holds.
    struct Message {
        let plaintext: [UInt8]
        let generation: Int
        let createdAt: Int64
    }

    /// Opens a verified event; nil, and counted, if it is none between our keys, or was here before.
    func open(_ event: Event, recipient: PublicKey) -> Message? {
        guard let (generation, pair) = self.keys.pair(recipient: recipient, author: event.pubkey) else {
            self.metrics.rejected(.wrongAuthor)
            return nil
        }
        // Strangers can fill what the whole node remembers, but not this: a stream's bytes come once.
        if self.remembersEvents, !self.deduplicator.insert(event.id) {
            self.metrics.rejected(.duplicate)
            return nil
        }
        do {
            let plaintext = try pair.conversation.open(Array(event.content.readableBytesView))
            return Message(plaintext: plaintext, generation: generation, createdAt: event.createdAt)
        } catch {
            self.metrics.rejected(.undecryptable)
            self.logger.debug("undecryptable event dropped", metadata: ["error": "\(error)", "peer": "\(self.peer)"])
            return nil
        }
    }

    /// Takes a message. Returns its plaintext if that is an exit's answer to an offer, which is for the caller.
    @discardableResult
    func receive(_ message: Message, path: PathID) -> [UInt8]? {
        if !self.remembersEvents, SessionAnswer.isAnswer(message.plaintext) { return message.plaintext }
        self.dialect.receive(
            message.plaintext,
            createdAt: message.createdAt,
            generation: message.generation,
            path: path,
            at: self.now
        )
        self.drain()
        return nil
    }

    /// Seals, dates and signs a message under the present keys.
    private func seal(_ plaintext: [UInt8], createdAt: Int64) throws -> Event {
        let pair = self.keys.current
        return try Event.signed(
            by: pair.own,
            createdAt: createdAt,
            kind: .tunnelMessage,
            tags: [Tag("p", ByteString(pair.peer.hex))],
            content: ByteBuffer(bytes: try pair.conversation.seal(plaintext))
        )
    }

    func publish(_ token: MessageToken, plaintext: [UInt8], createdAt: Int64, paths: [PathID]) {
        do {
            let event = try self.seal(plaintext, createdAt: createdAt)
            self.send(event.id, ClientMessage.encodeEvent(event), token, paths)
        } catch {
            // Neither sealing nor signing fails with keys and lengths that got this far.
            self.logger.error("cannot seal a message", metadata: ["error": "\(error)"])
            self.dialect.published(token, .rejected(.refused), at: self.now)
        }
    }

    /// Publishes something that the dialect knows nothing of: an answer to an offer.
    func publish(_ plaintext: [UInt8], on path: PathID) { self.publish(plaintext, on: [path]) }

    /// One event for all of the paths.
    func publish(_ plaintext: [UInt8], on paths: [PathID]) {
        let open = paths.compactMap { path in
            self.connections(path).flatMap { $0.isOpen ? (path: path, connection: $0) : nil }
        }
        guard !open.isEmpty, let event = try? self.seal(plaintext, createdAt: self.now.seconds) else { return }
        let message = ClientMessage.encodeEvent(event)
        for (path, connection) in open {
            connection.publish(event.id, message) { self.noteRefusal($0, path) }
        }
    }

    /// A relay that takes nothing from keys that it does not know is named to whoever holds the link.
    private func noteRefusal(_ result: RelayConnection.PublishResult, _ path: PathID) {
        guard case .rejected(let reason) = result, reason.prefix == .restricted || reason.prefix == .blocked else {
            return
        }
        self.owner.pathRefused(self, path)
    }

    /// Our present key and the peer's.
    var currentKeys: (own: SecretKey, peer: PublicKey) { (self.keys.current.own, self.keys.current.peer) }

    /// Our keys, old and new.
    var ownKeys: [PublicKey] { self.keys.ownKeys }

    /// Sends one event by every path; reports the first acceptance, or the last failure.
    private func send(_ id: EventID, _ message: ByteBuffer, _ token: MessageToken, _ paths: [PathID]) {
        var unanswered = paths.count
        var isReported = false
        func report(_ outcome: PublishOutcome) {
            unanswered -= 1
            if case .accepted = outcome {} else if unanswered > 0 { return }
            guard !isReported else { return }
            isReported = true
            self.dialect.published(token, outcome, at: self.now)
            self.drain()
        }
        for path in paths {
            guard let connection = self.connections(path) else {
                report(.rejected(.unreachable))
                continue
            }
            connection.publish(id, message) { result in
                self.noteRefusal(result, path)
                report(Self.outcome(result, path))
            }
            if connection.isOpen, !connection.isWritable { self.dialect.setWritable(path, false, at: self.now) }
        }
    }

    private static func outcome(_ result: RelayConnection.PublishResult, _ path: PathID) -> PublishOutcome {
        switch result {
        // Silence is not a no: some relays never answer.
        case .accepted, .unanswered: .accepted(path)
        case .rejected(let reason):
            switch reason.prefix {
            // Asked to authenticate, which the connection does: later is worth a try too.
            case .rateLimited, .authRequired: .rejected(.rateLimited)
            case .mute: .rejected(.nobodyListens)
            case .duplicate, .pow, .blocked, .invalid, .restricted, .error, nil: .rejected(.refused)
            }
        case .unreachable: .rejected(.unreachable)
        case .lost: .lost
        }
    }
}
