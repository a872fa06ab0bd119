//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import NIOEmbedded
import Nostr
import Testing

@testable import NostrRelay

/// A client of a ``RelayHarness``. It sends the text of messages and reads the text of the relay's messages.
final class MemoryClient {
    /// A message from the relay.
    enum Message: Hashable {
        /// Subscription and JSON of the event.
        case event(String, ByteString)
        /// Id of the event, whether it was accepted, and the reason.
        case ok(String, Bool, String)
        case endOfStoredEvents(String)
        /// Subscription and reason.
        case closed(String, String)
        case notice(String)
        case challenge(String)

        init(_ text: ByteBuffer) throws {
            switch try RelayMessage.parse(text) {
            case .event(let id, let received):
                self = .event(id.description, ByteString(Array(received.json.readableBytesView)))
            case .ok(let id, let isAccepted, let reason): self = .ok(id.hex, isAccepted, reason.text)
            case .endOfStoredEvents(let id): self = .endOfStoredEvents(id.description)
            case .closed(let id, let reason): self = .closed(id.description, reason.text)
            case .notice(let text): self = .notice(text)
            case .challenge(let text): self = .challenge(text)
            }
        }
    }

    /// The relay's answer to an event.
    struct Verdict: Hashable {
        let isAccepted: Bool
        let reason: String

        /// The event was accepted, and there is nothing to say about it.
        static let accepted = Verdict(isAccepted: true, reason: "")
    }

    /// The relay sent something else than a test needs.
    enum Failure: Error, Equatable {
        case notAFrame
        case noChallenge([Message])
        case noVerdict(event: String)
        case noEndOfStoredEvents(subscription: String)
        case closed(reason: String)
    }

    /// The challenge, which is the first message of the relay (NIP-42).
    private(set) var challenge = ""
    private let channel: EmbeddedChannel
    private let session: RelayClientSession
    /// What the relay has sent, as WebSocket frames.
    private var frames = ByteBuffer()
    /// Messages that no method has returned yet, in the order in which they came.
    private var inbox: [Message] = []

    /// Creates a client whose connection was just opened.
    init(channel: EmbeddedChannel, session: RelayClientSession) throws {
        self.channel = channel
        self.session = session
        try self.collect()
        guard self.inbox.count == 1, case .challenge(let challenge) = self.inbox[0] else {
            throw Failure.noChallenge(self.inbox)
        }
        self.challenge = challenge
        self.inbox = []
    }

    deinit {
        self.session.close()
        // The loop must not be released with the timers of the connection.
        _ = try? self.channel.finish(acceptAlreadyClosed: true)
    }

    // MARK: Text

    /// Sends messages that arrive at the relay in one read. Returns the text of all that the relay has sent since the
    /// last call of any method.
    func exchange(_ messages: [String]) throws -> [String] {
        self.deliver(messages)
        return try self.arrivals().map { String(buffer: $0) }
    }

    /// Sends a message. What the relay answers is kept for other methods.
    func send(_ message: String) throws {
        self.deliver([message])
        try self.collect()
    }

    private func deliver(_ messages: [String]) {
        for message in messages {
            self.session.receive(ByteBuffer(string: message))
        }
        self.session.flush()
    }

    private func collect() throws {
        for text in try self.arrivals() {
            self.inbox.append(try Message(text))
        }
    }

    /// Returns the payloads of the frames that have arrived.
    private func arrivals() throws -> [ByteBuffer] {
        self.channel.embeddedEventLoop.run()
        while let part = try self.channel.readOutbound(as: ByteBuffer.self) {
            self.frames.writeImmutableBuffer(part)
        }
        var texts: [ByteBuffer] = []
        while self.frames.readableBytes > 0 {
            texts.append(try self.nextPayload())
        }
        return texts
    }

    /// Decodes an unmasked, unfragmented text frame (RFC 6455, section 5.2).
    private func nextPayload() throws -> ByteBuffer {
        guard self.frames.readInteger(as: UInt8.self) == 0x81, let short = self.frames.readInteger(as: UInt8.self)
        else {
            throw Failure.notAFrame
        }
        let length: Int
        switch short {
        case 126: length = self.frames.readInteger(as: UInt16.self).map { Int($0) } ?? 0
        case 127: length = self.frames.readInteger(as: UInt64.self).map { Int($0) } ?? 0
        default: length = Int(short)
        }
        guard let payload = self.frames.readSlice(length: length) else { throw Failure.notAFrame }
        return payload
    }

    // MARK: Events

    /// Publishes an event.
    func publish(_ event: WrittenEvent) throws -> Verdict {
        try self.send(event.message)
        return try self.verdict(on: event)
    }

    /// Answers the relay's challenge (NIP-42).
    func authenticate(_ answer: WrittenEvent) throws -> Verdict {
        try self.send("[\"AUTH\",\(answer.json.text)]")
        return try self.verdict(on: answer)
    }

    private func verdict(on event: WrittenEvent) throws -> Verdict {
        for (index, message) in self.inbox.enumerated() {
            guard case .ok(let id, let isAccepted, let reason) = message, id == event.id else { continue }
            self.inbox.remove(at: index)
            return Verdict(isAccepted: isAccepted, reason: reason)
        }
        throw Failure.noVerdict(event: event.id)
    }

    /// Publishes events and expects that the relay accepts them.
    func accepts(_ events: [WrittenEvent], sourceLocation: SourceLocation = #_sourceLocation) throws {
        for event in events {
            let verdict = try self.publish(event)
            #expect(verdict.isAccepted, "\(verdict.reason)", sourceLocation: sourceLocation)
        }
    }

    /// Publishes an event and expects that the relay accepts it.
    func accepts(_ event: WrittenEvent, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try self.accepts([event], sourceLocation: sourceLocation)
    }

    /// Publishes an event and expects that the relay rejects it for a reason of this kind.
    func rejects(
        _ event: WrittenEvent,
        _ prefix: ReasonText.Prefix,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let verdict = try self.publish(event)
        #expect(!verdict.isAccepted, sourceLocation: sourceLocation)
        #expect(ReasonText(verdict.reason).prefix == prefix, "\(verdict.reason)", sourceLocation: sourceLocation)
    }

    // MARK: Subscriptions

    /// Sends a REQ. Returns the stored events, and the reason if the relay answers with CLOSED instead of EOSE.
    func request(_ name: String, _ queries: [Query]) throws -> (events: [ByteString], refusal: ReasonText?) {
        try self.send("[\"REQ\",\(name.quoted),\(queries.map(\.json).joined(separator: ","))]")
        var events: [ByteString] = []
        for (index, message) in self.inbox.enumerated() {
            switch message {
            case .event(let id, let json) where id == name: events.append(json)
            case .endOfStoredEvents(let id) where id == name:
                self.forget(name, upTo: index)
                return (events, nil)
            case .closed(let id, let reason) where id == name:
                self.forget(name, upTo: index)
                return (events, ReasonText(reason))
            default: break
            }
        }
        throw Failure.noEndOfStoredEvents(subscription: name)
    }

    private func forget(_ name: String, upTo end: Int) {
        let others = self.inbox[..<end].filter { message in
            if case .event(name, _) = message { false } else { true }
        }
        self.inbox = others + self.inbox[(end + 1)...]
    }

    /// Subscribes. Returns the stored events in the order of the relay.
    func subscribe(_ name: String, _ queries: Query...) throws -> [ByteString] {
        let (events, refusal) = try self.request(name, queries)
        if let refusal { throw Failure.closed(reason: refusal.text) }
        return events
    }

    /// Closes a subscription.
    func unsubscribe(_ name: String) throws {
        try self.send("[\"CLOSE\",\(name.quoted)]")
    }

    /// Returns the events of a subscription that have arrived after EOSE, each one once.
    func live(_ name: String) throws -> [ByteString] {
        try self.collect()
        var events: [ByteString] = []
        var others: [Message] = []
        for message in self.inbox {
            if case .event(name, let json) = message { events.append(json) } else { others.append(message) }
        }
        self.inbox = others
        return events
    }

    /// Returns the names of the subscriptions that the relay has closed since the last call.
    func closedSubscriptions() throws -> [String] {
        try self.collect()
        var names: [String] = []
        self.inbox.removeAll { message in
            guard case .closed(let name, _) = message else { return false }
            names.append(name)
            return true
        }
        return names
    }

    /// Returns the stored events that match any of the filters, in the order of the relay.
    func found(_ queries: Query...) throws -> [ByteString] {
        let (events, refusal) = try self.request("found", queries)
        if let refusal { throw Failure.closed(reason: refusal.text) }
        try self.unsubscribe("found")
        return events
    }

    /// Returns the stored event with the id of `event`, or nil if there is none.
    func stored(_ event: WrittenEvent) throws -> ByteString? {
        try self.found(Query(ids: [event.id])).first
    }
}
