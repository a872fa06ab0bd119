//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// How an entry opens streams: publishes CONNECT, repeats it, offers a session with it, and falls back to plain NIP-74.
struct NIP74Entry {
    private let configuration: NIP74Configuration
    /// Whether ``NIP74Signal/exitSentData`` was reported.
    private var exitHasSpoken = false

    init(_ configuration: NIP74Configuration) { self.configuration = configuration }

    /// Opens a stream.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - key: Its UUID.
    ///   - offer: The session that is offered with it.
    ///   - paths: The paths on which the exit may be subscribed, best first.
    ///   - streams: The streams of the entry.
    ///   - context: The time. Receives the actions.
    func open(
        _ id: StreamID,
        key: String,
        offer: OutgoingOffer?,
        paths: [PathID],
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        let usable = paths.filter(streams.hasPath)
        guard let first = usable.first else {
            context.actions.append(.ended(id, .noRelay))
            return
        }
        let now = context.now.monotonic
        var stream = NIP74Stream(
            id: id,
            key: key,
            path: first,
            phase: .connecting(MessageToken(rawValue: 0)),
            now: now
        )
        stream.phaseDeadline = now + self.configuration.connectTimeout
        stream.connectPaths = usable
        stream.offer = offer?.offer
        stream.mayFallBack = offer?.mayFallBack ?? true
        streams.table.insert(stream)
        self.publishConnect(id, &streams, &context)
    }

    /// Publishes CONNECT, or publishes it again as a new event.
    private func publishConnect(_ id: StreamID, _ streams: inout NIP74Streams, _ context: inout NIP74Context) {
        guard let stream = streams.table[id] else { return }
        // CONNECT also goes to relays outside of `connectPaths`, for example to those added since the stream was
        // opened.
        let usable = stream.connectPaths.filter(streams.hasPath) + streams.paths(without: stream.connectPaths)
        guard let first = usable.first, let destination = streams.destination(on: first) else {
            if stream.waitsForRelays(self.configuration, at: context.now.monotonic) {
                return self.publishAgain(id, after: self.configuration.connectRepetition, &streams, &context)
            }
            return streams.endSilently(id, .noRelay, &context)
        }
        let token = context.makeToken()
        let message = NIP74Message(
            key: stream.key,
            // The reference connects to the target for every CONNECT that it receives, so a repetition is an OFFER.
            kind: stream.connectIsUnheard ? .connect : .offer,
            destination: destination,
            offer: stream.offer?.encoded
        )
        streams.table[id]?.lastDate = context.now.seconds
        if stream.connectIsUnheard {
            streams.table[id]?.connectIsUnheard = false
            streams.table[id]?.phase = .connecting(token)
            streams.table.own(token, id)
        } else {
            // A relay has accepted CONNECT, so the outcome of a repetition is ignored.
            streams.table[id]?.connectDue = context.now.monotonic + self.configuration.offerRepetition
        }
        // CONNECT is dated with the current time, because an exit may reject other dates. It is sent as one event to
        // every relay, because the exit may have lost its connection to any of them. The exit drops duplicates.
        context.actions.append(
            .publish(
                token,
                plaintext: ByteBuffer(bytes: message.encoded()),
                createdAt: context.now.seconds,
                paths: usable,
                work: stream.offer == nil ? 0 : Self.work(ofRepetition: stream.connects)
            )
        )
        streams.table[id]?.connects += 1
        streams.schedule(id, &context)
    }

    /// The proof of work of an offer. An exit that gets too many offers prefers those with more work.
    static func work(ofRepetition number: Int) -> Int { number == 0 ? 0 : min(14, 6 + 2 * number) }

    /// Handles the relays' answer to CONNECT.
    func connectPublished(
        _ id: StreamID,
        _ outcome: PublishOutcome,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        guard let stream = streams.table[id] else { return }
        let now = context.now.monotonic
        switch outcome {
        case .accepted(let path):
            streams.table[id]?.path = path
            streams.table[id]?.phase = .waiting
            // An offer has its own deadline, counted from the start of the stream. Without an offer, the reference
            // needs some time to process CONNECT.
            streams.table[id]?.phaseDeadline =
                stream.offer == nil ? now + self.configuration.connectGrace : stream.offerDeadline(self.configuration)
            // CONNECT or the acceptance may be lost.
            if stream.offer != nil { streams.table[id]?.connectDue = now + self.configuration.offerRepetition }
            streams.schedule(id, &context)
        case .rejected(.noSubscriber):
            // The exit may be reconnecting to a relay that was restarted.
            guard stream.startedAt + self.configuration.exitTimeout > now else {
                return streams.endSilently(id, .exitSilent, &context)
            }
            self.publishAgain(id, after: self.configuration.connectRepetition, &streams, &context)
        case .rejected(.rateLimited), .rejected(.held):
            context.actions.append(.report(.backedOff))
            self.publishAgain(id, after: self.configuration.backOff.first, &streams, &context)
        case .rejected(.refused), .rejected(.unreachable), .lost:
            if stream.waitsForRelays(self.configuration, at: now) {
                return self.publishAgain(id, after: self.configuration.connectRepetition, &streams, &context)
            }
            streams.endSilently(id, outcome == .rejected(.refused) ? .relayRefused : .noRelay, &context)
        }
    }

    /// Schedules the publication of CONNECT as a new event, unless the exit answers first.
    private func publishAgain(
        _ id: StreamID,
        after wait: TimeAmount,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        streams.table[id]?.connectIsUnheard = true
        streams.table[id]?.connectDue = context.now.monotonic + wait
        streams.schedule(id, &context)
    }

    /// Handles a message of the exit.
    mutating func receive(
        _ message: NIP74Message,
        path: PathID,
        _ streams: inout NIP74Streams,
        _ context: inout NIP74Context
    ) {
        switch message.kind {
        case .connect, .connectReverse, .offer: return context.actions.append(.report(.wrongDirection))
        case .other: return context.actions.append(.report(.unknownType))
        case .data, .socks5Response: break
        }
        guard let id = streams.table[message.key], let stream = streams.table[id] else {
            return context.actions.append(.report(.unknownStream))
        }
        guard stream.offer == nil || stream.mayFallBack else {
            return context.actions.append(.report(.downgradeRefused))
        }
        // The relay that delivers the exit's first message is one to which the exit is connected. From now on the stream
        // uses it.
        if !stream.isAnswered, streams.hasPath(path) { streams.table[id]?.path = path }
        switch stream.phase {
        case .connecting(let token):
            _ = streams.table.takeOwner(of: token)
            self.fallBack(id, &streams, &context)
        // The exit sent data instead of an acceptance, so it uses plain NIP-74.
        case .waiting: self.fallBack(id, &streams, &context)
        case .dialling, .open: break
        }
        if !self.exitHasSpoken {
            self.exitHasSpoken = true
            context.actions.append(.signal(.exitSentData))
        }
        streams.receive(message, on: id, &context)
    }

    /// Opens a stream in plain NIP-74.
    private func fallBack(_ id: StreamID, _ streams: inout NIP74Streams, _ context: inout NIP74Context) {
        if streams.table[id]?.offer != nil { context.actions.append(.report(.fellBackToPlain)) }
        streams.table[id]?.offer = nil
        streams.becomeOpen(id, &context)
    }

    /// Handles what is due for a stream that the exit has not answered.
    func timeout(_ id: StreamID, _ streams: inout NIP74Streams, _ context: inout NIP74Context) {
        let now = context.now.monotonic
        guard let stream = streams.table[id] else { return }
        if let deadline = stream.phaseDeadline, deadline <= now {
            switch stream.phase {
            case .connecting: return streams.endSilently(id, .noRelay, &context)
            case .waiting where stream.offer != nil && !stream.mayFallBack:
                return streams.endSilently(id, .sessionRequired, &context)
            // The exit did not answer. This is normal for the reference.
            case .waiting: self.fallBack(id, &streams, &context)
            case .dialling, .open: streams.table[id]?.phaseDeadline = nil
            }
        }
        guard let due = stream.connectDue, due <= now else { return }
        streams.table[id]?.connectDue = nil
        switch streams.table[id]?.phase {
        case .connecting, .waiting: self.publishConnect(id, &streams, &context)
        case .dialling, .open, nil: break
        }
    }
}
