//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// How an exit takes messages of a client: CONNECT, offers of sessions, requests for reverse connections, and data, which
/// may arrive before its CONNECT.
struct NIP74Exit {
    /// A client's offer that was not accepted and not followed by data yet.
    private struct HeldOffer {
        let message: NIP74Message
        let createdAt: Int64
        let expires: NIODeadline
    }

    private let configuration: NIP74Configuration
    /// Offers by their UUID.
    private var offers: [String: HeldOffer] = [:]
    private var early: EarlyMessages
    private var lastStream: UInt64 = 0

    init(_ configuration: NIP74Configuration) {
        self.configuration = configuration
        self.early = EarlyMessages(limit: configuration.earlyMessageBytes, lifetime: configuration.earlyMessageTimeout)
    }

    /// Whether nothing is held.
    var isIdle: Bool { self.offers.isEmpty && self.early.isEmpty }

    /// Forgets an offer whose session has started.
    mutating func offerSettled(_ key: String) { self.offers[key] = nil }

    // MARK: Messages

    /// Handles a message of the client.
    mutating func receive(
        _ message: NIP74Message,
        createdAt: Int64,
        path: PathID,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        switch message.kind {
        case .connect, .offer:
            if let encoded = message.offer, self.configuration.takesOffers {
                // A CONNECT with an offer that this exit does not understand is not a plain CONNECT: a later version may
                // give it another meaning.
                guard let offer = VersionedOffer(encoded: encoded) else {
                    return context.actions.append(.report(.malformedMessage))
                }
                let received = SessionOffer(key: message.key, offer: offer, createdAt: createdAt, path: path)
                self.receive(received, message, &streams, &context)
            } else if message.kind == .connect {
                self.connect(message, createdAt: createdAt, path: path, &streams, &context)
            } else {
                context.actions.append(.report(.unknownType))
            }
        case .connectReverse: Self.receiveReverse(message, createdAt: createdAt, &streams, &context)
        case .data, .socks5Response:
            if let id = streams.table[message.key] {
                streams.receive(message, on: id, &context)
            } else if let held = self.offers.removeValue(forKey: message.key) {
                // The client did not receive the acceptance and uses plain NIP-74.
                self.connect(held.message, createdAt: held.createdAt, path: path, &streams, &context)
                if let id = streams.table[message.key] { streams.receive(message, on: id, &context) }
            } else {
                self.keep(message, streams, &context)
            }
        case .other: context.actions.append(.report(.unknownType))
        }
    }

    /// Whether a message is new and recent. Otherwise reports why not.
    private static func isFresh(
        _ key: String,
        createdAt: Int64,
        _ streams: NIP74Streams,
        _ context: inout NIP74Context
    ) -> Bool {
        guard !streams.table.isKnown(key) else {
            context.actions.append(.report(.duplicateConnect))
            return false
        }
        guard NIP74Configuration.isRecent(createdAt, at: context.now.seconds) else {
            context.actions.append(.report(.staleConnect))
            return false
        }
        return true
    }

    private static func receiveReverse(
        _ message: NIP74Message,
        createdAt: Int64,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        guard let address = message.entryPublicAddress else {
            return context.actions.append(.report(.malformedMessage))
        }
        guard Self.isFresh(message.key, createdAt: createdAt, streams, &context) else { return }
        // The exit writes it to the connection that it opens, and the client chooses the address.
        guard message.hasUUID else {
            return context.actions.append(.report(.malformedMessage))
        }
        streams.table.remember(message.key)
        let request = ReverseRequest(
            destination: message.destination,
            connect: StreamRequest.Connect(key: message.key, createdAt: createdAt),
            address: address
        )
        context.actions.append(.signal(.reverse(request)))
    }

    private mutating func receive(
        _ offer: SessionOffer,
        _ message: NIP74Message,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        guard NIP74Configuration.isRecent(offer.createdAt, at: context.now.seconds) else {
            context.actions.append(.report(.staleConnect))
            // A refusal of a query would end the session.
            if offer.body.flatMap({ OfferTerms(encoded: $0) })?.queriedSession == nil {
                context.actions.append(.signal(.outdated(offer)))
            }
            return
        }
        // Only an offer of a new session may become a plain stream.
        guard let terms = offer.body.flatMap({ OfferTerms(encoded: $0) }), terms.queriedSession == nil else {
            return context.actions.append(.signal(.offered(offer)))
        }
        guard !streams.table.isKnown(offer.key) else { return context.actions.append(.report(.duplicateConnect)) }
        if self.offers[offer.key] == nil {
            guard self.offers.count < self.configuration.offers else {
                return context.actions.append(.report(.tooManyStreams))
            }
            let expires = context.now.monotonic + self.configuration.offerLifetime
            self.offers[offer.key] = HeldOffer(message: message, createdAt: offer.createdAt, expires: expires)
            context.timers.schedule(.offers, at: expires)
        }
        // Data that arrived before the offer means plain NIP-74, as data that arrives after it does.
        if self.early.contains(offer.key), let held = self.offers.removeValue(forKey: offer.key) {
            self.connect(held.message, createdAt: held.createdAt, path: offer.path, &streams, &context)
        } else {
            context.actions.append(.signal(.offered(offer)))
        }
    }

    private mutating func connect(
        _ message: NIP74Message,
        createdAt: Int64,
        path: PathID,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        guard Self.isFresh(message.key, createdAt: createdAt, streams, &context) else { return }
        guard streams.table.count < self.configuration.streams, streams.hasPath(path) else {
            return context.actions.append(.report(.tooManyStreams))
        }
        self.lastStream += 1
        let id = StreamID(rawValue: self.lastStream)
        let now = context.now.monotonic
        var stream = NIP74Stream(id: id, key: message.key, path: path, phase: .dialling, now: now)
        // A client that offers sessions is subscribed before it sends CONNECT.
        if message.offer == nil { stream.notBefore = now + self.configuration.firstAnswerDelay }
        streams.table.insert(stream)
        let request = StreamRequest(
            destination: message.destination,
            port: nil,
            connect: StreamRequest.Connect(key: message.key, createdAt: createdAt)
        )
        context.actions.append(.incoming(id, request))
        streams.receivePayload(of: message, on: id, &context)
        for earlier in self.early.remove(message.key) { streams.receive(earlier, on: id, &context) }
        streams.schedule(id, &context)
    }

    /// Keeps a message until its CONNECT arrives.
    private mutating func keep(_ message: NIP74Message, _ streams: NIP74Streams, _ context: inout NIP74Context) {
        guard !streams.table.ended.becameSession(message.key) else {
            return context.actions.append(.report(.afterAcceptance))
        }
        guard !streams.table.ended.contains(message.key), self.early.insert(message, at: context.now.monotonic) else {
            return context.actions.append(.report(.unknownStream))
        }
        if let deadline = self.early.nextDeadline { context.timers.schedule(.earlyMessages, at: deadline) }
    }

    // MARK: Time

    /// Drops offers that were held for too long.
    mutating func expireOffers(_ context: inout NIP74Context) {
        self.offers = self.offers.filter { $0.value.expires > context.now.monotonic }
        if let next = self.offers.values.map(\.expires).min() { context.timers.schedule(.offers, at: next) }
    }

    /// Drops messages whose CONNECT did not arrive in time.
    mutating func expireEarlyMessages(_ context: inout NIP74Context) {
        for _ in 0..<self.early.expire(at: context.now.monotonic) { context.actions.append(.report(.unknownStream)) }
        if let deadline = self.early.nextDeadline { context.timers.schedule(.earlyMessages, at: deadline) }
    }
}
