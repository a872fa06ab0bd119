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
///
/// This type receives all inputs. ``NIP74Entry`` or ``NIP74Exit`` opens streams, and ``NIP74Streams`` carries their data.
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

    private let role: Role
    private var generator: any RandomNumberGenerator & Sendable
    private var streams: NIP74Streams
    private var entry: NIP74Entry
    private var exit: NIP74Exit
    private var context = NIP74Context(now: Moment(monotonic: .uptimeNanoseconds(0), seconds: 0))

    /// - Parameters:
    ///   - role: The side of the tunnel.
    ///   - configuration: Limits and timeouts.
    ///   - generator: The random number generator for the UUIDs of new streams.
    package init(
        role: Role,
        configuration: NIP74Configuration = NIP74Configuration(),
        generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
    ) {
        self.role = role
        self.generator = generator
        let isEntry = if case .entry = role { true } else { false }
        self.streams = NIP74Streams(isEntry: isEntry, configuration: configuration)
        self.entry = NIP74Entry(configuration)
        self.exit = NIP74Exit(configuration)
    }

    // MARK: State

    package var streamCount: Int { self.streams.table.count }
    package var isIdle: Bool { self.streams.table.isEmpty && self.exit.isIdle }
    package var nextDeadline: NIODeadline? { self.context.timers.nextDeadline }

    package mutating func nextAction() -> StreamAction<NIP74Signal>? { self.context.actions.popFirst() }

    // MARK: Paths

    package mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment) {
        let destination =
            switch self.role {
            case .entry(let name): name
            case .exit(let client): NIP19.nprofile(client, relays: [description.relay]).encoded
            }
        self.streams.add(path, description, destination: destination)
    }

    package mutating func removePath(_ path: PathID, at now: Moment) {
        self.context.now = now
        self.streams.remove(path, &self.context)
    }

    package mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment) {
        self.context.now = now
        self.streams.setWritable(path, isWritable, &self.context)
    }

    // MARK: Streams

    /// Opens a stream (entry). The result is ``StreamAction/opened(_:)`` or ``StreamAction/ended(_:_:)``.
    ///
    /// - Parameters:
    ///   - id: The stream.
    ///   - request: Not used: every stream of a ``NIP74StateMachine`` has the same destination.
    ///   - paths: The paths on which the exit may be subscribed, best first. Paths that were not added are ignored.
    ///   - now: The current time.
    package mutating func open(_ id: StreamID, _ request: StreamRequest, paths: [PathID], at now: Moment) {
        self.context.now = now
        var generator = self.generator
        let key = Self.makeKey(using: &generator)
        self.generator = generator
        self.entry.open(id, key: key, offer: nil, paths: paths, &self.streams, &self.context)
    }

    /// Opens a stream and offers a session with it (entry).
    ///
    /// ``offerSettled(_:at:)`` removes the stream when the session has started. If the offer allows a fallback, data
    /// from the exit or no answer turns the stream into a plain stream.
    package mutating func open(_ id: StreamID, offering offer: OutgoingOffer, paths: [PathID], at now: Moment) {
        self.context.now = now
        self.entry.open(id, key: offer.key, offer: offer, paths: paths, &self.streams, &self.context)
    }

    /// Removes the plain stream of an offer whose session has started.
    package mutating func offerSettled(_ key: String, at now: Moment) {
        self.context.now = now
        self.exit.offerSettled(key)
        if let id = self.streams.table[key] { self.streams.forget(id, &self.context) }
        self.streams.table.remember(key, becameSession: true)
    }

    package mutating func connected(_ id: StreamID, at now: Moment) {
        guard self.streams.table[id]?.phase == .dialling else { return }
        self.context.now = now
        self.streams.becomeOpen(id, &self.context)
    }

    package mutating func send(_ id: StreamID, _ data: ByteBuffer, at now: Moment) {
        self.context.now = now
        self.streams.send(id, data, &self.context)
    }

    package mutating func finish(_ id: StreamID, at now: Moment) {
        self.context.now = now
        self.streams.finish(id, &self.context)
    }

    package mutating func reset(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        self.context.now = now
        self.streams.reset(id, reason, &self.context)
    }

    package mutating func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd, at now: Moment) {
        self.context.now = now
        self.streams.resetAfterDelivery(id, reason, &self.context)
    }

    package mutating func consumed(_ id: StreamID, _ bytes: Int, at now: Moment) { self.streams.consumed(id, bytes) }

    package mutating func close(_ reason: StreamEnd?, at now: Moment) {
        self.context.now = now
        for id in self.streams.table.identifiers { self.streams.end(id, reason ?? .shuttingDown, &self.context) }
    }

    // MARK: Messages

    package mutating func receive(
        _ plaintext: ByteBuffer,
        createdAt: Int64,
        generation: Int,
        path: PathID,
        at now: Moment
    ) {
        self.context.now = now
        guard let message = NIP74Message(plaintext: plaintext) else {
            if self.streams.isEntry, plaintext.readableBytesView.elementsEqual(NIP74Configuration.plainCloseMessage) {
                self.streams.receiveClose(&self.context)
            } else {
                self.context.actions.append(.report(.malformedMessage))
            }
            return
        }
        self.streams.received(date: createdAt)
        if self.streams.isEntry {
            self.entry.receive(message, path: path, &self.streams, &self.context)
        } else {
            self.exit.receive(
                message,
                createdAt: createdAt,
                path: path,
                &self.streams,
                &self.context
            )
        }
    }

    package mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment) {
        guard let id = self.streams.table.takeOwner(of: token), let phase = self.streams.table[id]?.phase else {
            return
        }
        self.context.now = now
        if phase == .connecting(token) {
            self.entry.connectPublished(id, outcome, &self.streams, &self.context)
        } else {
            self.streams.published(token, of: id, outcome, &self.context)
        }
    }

    // MARK: Time

    package mutating func timeout(at now: Moment) {
        self.context.now = now
        // Timers that are scheduled in this call fire in the next call, even if they are already due.
        var due: [NIP74Context.Timer] = []
        while let timer = self.context.timers.popDue(now.monotonic) { due.append(timer) }
        for timer in due {
            switch timer {
            case .earlyMessages: self.exit.expireEarlyMessages(&self.context)
            case .offers: self.exit.expireOffers(&self.context)
            case .stream(let id):
                self.entry.timeout(id, &self.streams, &self.context)
                self.streams.timeout(id, &self.context)
            }
        }
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
}
