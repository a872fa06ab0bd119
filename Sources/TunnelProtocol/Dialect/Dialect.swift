//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore
public import NostrCrypto

/// Names a stream of one dialect.
public struct StreamID: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

extension StreamID: CustomStringConvertible {
    public var description: String { String(self.rawValue) }
}

/// Names a relay of one dialect: a way to the peer. In a session both ends use the exit's numbers.
public struct PathID: Hashable, Sendable {
    public let rawValue: Int

    public init(rawValue: Int) {
        self.rawValue = rawValue
    }
}

/// What a dialect must know of a path.
public struct PathDescription: Hashable, Sendable {
    /// The relay's URL, as messages name it.
    public var relay: String
    /// Most bytes of plaintext whose event the relay takes, as far as is known.
    public var maximumPlaintext: Int
    /// Most bytes that it may take, if its word on messages holds for events too.
    public var largestPlaintext: Int
    /// Seconds into the future that the relay lets `created_at` lie; nil if it doesn't say.
    public var createdAtUpperLimit: Int?

    public init(relay: String, maximumPlaintext: Int, largestPlaintext: Int? = nil, createdAtUpperLimit: Int?) {
        self.relay = relay
        self.maximumPlaintext = maximumPlaintext
        self.largestPlaintext = largestPlaintext ?? maximumPlaintext
        self.createdAtUpperLimit = createdAtUpperLimit
    }
}

/// A reading of both clocks.
public struct Moment: Hashable, Sendable {
    /// For durations.
    public let monotonic: NIODeadline
    /// Seconds since 1970, for `created_at`.
    public let seconds: Int64

    public init(monotonic: NIODeadline, seconds: Int64) {
        self.monotonic = monotonic
        self.seconds = seconds
    }
}

/// Names a message that was given to be published.
public struct MessageToken: Hashable, Sendable {
    public let rawValue: UInt64

    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

/// What became of a published message.
public enum PublishOutcome: Hashable, Sendable {
    /// The relay of this path took it.
    case accepted(PathID)
    /// Every path that was named refused it; one of the reasons.
    case rejected(PublishRejection)
    /// The connection ended before the relay answered: nobody knows.
    case lost
}

/// Why a relay did not take a message.
public enum PublishRejection: Hashable, Sendable {
    /// Too fast; worth another try.
    case rateLimited
    /// Nobody listens there for the receiver.
    case nobodyListens
    /// For good.
    case refused
    /// No connection to the relay.
    case unreachable
}

/// A protocol that carries streams between two keys through relays.
///
/// Pure: inputs go in with the time, actions come out of ``nextAction()``; no clock, socket, key or task inside.
/// Entry and exit drive any dialect the same way, and neither knows which one runs.
///
/// Bytes flow under credit. The dialect grants credit to send with ``DialectAction/credit(_:_:)``; a driver stops reading
/// when it is used up, and may overshoot by what the system hands it at once (one read, or at the end of a connection all
/// that the kernel still holds). The driver tells with ``consumed(_:_:at:)`` what it passed on, and the dialect bounds what it hands
/// over ahead of that.
public protocol Dialect {
    /// Opens a stream (entry). Answered by ``DialectAction/opened(_:)`` or ``DialectAction/ended(_:_:)``.
    ///
    /// - Parameters:
    ///   - request: What is asked for.
    ///   - paths: The paths on which the exit may listen, best first. They were added before.
    mutating func open(_ stream: StreamID, _ request: StreamRequest, paths: [PathID], at now: Moment)
    /// Opens a stream and offers a session with it (entry). What comes first decides: ``offerSettled(_:at:)`` takes the
    /// stream out, the exit's data or silence leave it here.
    mutating func open(_ stream: StreamID, offering offer: OutgoingOffer, paths: [PathID], at now: Moment)
    /// Takes the early data of an offer as the beginning of the session's first stream (exit).
    mutating func receiveEarly(_ request: StreamRequest, _ data: ByteBuffer, at now: Moment)
    /// The first bytes of a stream that was just opened reached the peer with the offer (entry).
    mutating func assumeSent(_ stream: StreamID, _ bytes: Int)
    /// The session of an offer has begun, and the dialect has nothing more to do with it.
    mutating func offerSettled(_ key: String, at now: Moment)
    /// The target of an ``DialectAction/incoming(_:_:)`` stream is connected (exit).
    mutating func connected(_ stream: StreamID, at now: Moment)
    /// Sends bytes, as far as credit was granted.
    mutating func send(_ stream: StreamID, _ data: ByteBuffer, at now: Moment)
    /// No more bytes will be sent (FIN).
    mutating func finish(_ stream: StreamID, at now: Moment)
    /// Ends the stream both ways (RST). There is no further action for it.
    mutating func reset(_ stream: StreamID, _ reason: StreamEnd, at now: Moment)
    /// Bytes that were handed over went on to where they belong.
    mutating func consumed(_ stream: StreamID, _ bytes: Int, at now: Moment)

    /// A message from the peer: verified, opened, its author checked.
    ///
    /// - Parameter generation: Of the keys that it was sealed under; 0 where there is one pair only.
    mutating func receive(_ plaintext: [UInt8], createdAt: Int64, generation: Int, path: PathID, at now: Moment)
    /// What became of a message.
    mutating func published(_ token: MessageToken, _ outcome: PublishOutcome, at now: Moment)
    /// A path is there, or its description changed.
    mutating func addPath(_ path: PathID, _ description: PathDescription, at now: Moment)
    /// The path's connection broke; it may be added again later.
    mutating func removePath(_ path: PathID, at now: Moment)
    /// The peer may use one more relay; it is heard there already.
    mutating func offerPath(_ offer: SessionPathOffer, at now: Moment)
    /// The path's send buffer ran full, or drained.
    mutating func setWritable(_ path: PathID, _ isWritable: Bool, at now: Moment)
    /// The key that ``SessionAction/makeKey(generation:)`` asked for is there, and messages for it are heard.
    mutating func keyPrepared(_ generation: Int, _ key: PublicKey, at now: Moment)
    /// Ends everything and tells the peer, where the dialect has a word for that; nil if all is in order.
    mutating func close(_ reason: StreamEnd?, at now: Moment)
    /// The time named by ``nextDeadline`` came.
    mutating func timeout(at now: Moment)

    /// When ``timeout(at:)`` is due next.
    var nextDeadline: NIODeadline? { get }
    /// The next thing to do; call until nil after every input.
    mutating func nextAction() -> DialectAction?
    /// Streams that are not over.
    var streamCount: Int { get }
    /// Whether forgetting the peer loses nothing.
    var isIdle: Bool { get }
    /// How the paths do, where that is measured.
    var pathStatus: [PathStatus] { get }
    /// Whether every relay that is up says that the peer is not there.
    var isDeserted: Bool { get }
    /// Whether the peer lets one more stream be (entry). One that is opened all the same ends at once.
    var hasRoomForStream: Bool { get }
    /// Bytes from the peer that are held here, or handed over and not consumed.
    var heldBytes: Int { get }
}

extension Dialect {
    /// Nothing is offered inside of a session.
    public mutating func open(_ stream: StreamID, offering offer: OutgoingOffer, paths: [PathID], at now: Moment) {}
    public mutating func offerSettled(_ key: String, at now: Moment) {}
    /// Where a limit of its own bounds each stream.
    public var heldBytes: Int { 0 }
    public var hasRoomForStream: Bool { true }
    public var pathStatus: [PathStatus] { [] }
    /// NIP-74 does not look.
    public var isDeserted: Bool { false }
    public mutating func receiveEarly(_ request: StreamRequest, _ data: ByteBuffer, at now: Moment) {}
    public mutating func assumeSent(_ stream: StreamID, _ bytes: Int) {}
    /// NIP-74 has no word for it.
    public mutating func offerPath(_ offer: SessionPathOffer, at now: Moment) {}
    /// Dialects with one pair of keys ask for none.
    public mutating func keyPrepared(_ generation: Int, _ key: PublicKey, at now: Moment) {}
}

/// How a path does.
public struct PathStatus: Hashable, Sendable {
    public let path: PathID
    /// Smoothed; nil before the first measurement.
    public let roundTrip: TimeAmount?
    /// Packets that went out, and those of them that counted as lost.
    public let sent: UInt64
    public let lost: UInt64
}

/// What a dialect wants done.
public enum DialectAction: Sendable {
    /// Seal, date, sign and send one event to every one of the paths. It counts as accepted when the first relay took
    /// it, and as failed when all did not.
    case publish(MessageToken, plaintext: [UInt8], createdAt: Int64, paths: [PathID])
    /// The peer opened a stream (exit): connect its target, then ``Dialect/connected(_:at:)`` or a reset. Data may come
    /// before.
    case incoming(StreamID, StreamRequest)
    /// The stream is open (entry).
    case opened(StreamID)
    /// More bytes may be sent.
    case credit(StreamID, Int)
    /// Bytes from the peer.
    case data(StreamID, ByteBuffer)
    /// The peer sends no more.
    case finished(StreamID)
    /// The stream is over both ways and forgotten. Nil: everything was carried.
    case ended(StreamID, StreamEnd?)
    /// A client offers a session with this CONNECT (exit): accept it, or wait until it sends plain data.
    case offered(SessionOffer)
    /// A client asks the exit to connect to it (CONNECTR).
    case reverse(ReverseRequest)
    /// What only a session wants.
    case session(SessionAction)
    /// Something to count, and at most to log.
    case report(DialectReport)
}

/// A CONNECTR: the stream is to be carried by a connection from the exit to the entry.
public struct ReverseRequest: Hashable, Sendable {
    /// As in CONNECT.
    public var destination: String
    public var connect: StreamRequest.Connect
    /// `HOST:PORT` of the entry, as it says itself.
    public var address: String
}

/// What the peer asked for.
public struct StreamRequest: Hashable, Sendable {
    /// The destination as the client wrote it, for logs and policy; never dialled by a private exit.
    public var destination: String
    /// The port asked for; nil if the client's protocol has no room for it.
    public var port: UInt16?
    /// The CONNECT that asked; nil in a session, where nothing can be asked twice.
    public var connect: Connect?

    /// What tells a CONNECT from all others of its author.
    public struct Connect: Hashable, Sendable {
        /// The stream's UUID.
        public var key: String
        /// Date of the event.
        public var createdAt: Int64
    }

    public init(destination: String, port: UInt16?, connect: Connect? = nil) {
        self.destination = destination
        self.port = port
        self.connect = connect
    }
}

/// A session that an entry offers with its first CONNECT.
public struct OutgoingOffer: Hashable, Sendable {
    /// The stream's UUID.
    public var key: String
    public var terms: SessionOffer.Terms
    /// Whether an exit that does not accept is spoken to in plain NIP-74.
    public var mayFallBack: Bool

    public init(key: String, terms: SessionOffer.Terms, mayFallBack: Bool) {
        self.key = key
        self.terms = terms
        self.mayFallBack = mayFallBack
    }
}

/// Input that a dialect dropped, or a fallback that it took.
public enum DialectReport: String, Hashable, Sendable, CaseIterable {
    /// A message that is not of the protocol.
    case malformedMessage = "malformed_message"
    /// A message type that this side does not know.
    case unknownType = "unknown_type"
    /// Data or control for a stream that is not there.
    case unknownStream = "unknown_stream"
    /// A second CONNECT for a stream.
    case duplicateConnect = "duplicate_connect"
    /// A CONNECT dated outside the window.
    case staleConnect = "stale_connect"
    /// A CONNECT beyond the number of streams allowed.
    case tooManyStreams = "too_many_streams"
    /// CONNECTR, which is not served.
    case reverseConnect = "reverse_connect"
    /// A message that only the other role may get.
    case wrongDirection = "wrong_direction"
    /// The peer did not answer the offer: plain NIP-74 from here on.
    case fellBackToPlain = "fell_back_to_plain"
    /// A relay refused messages; they are sent again later.
    case backedOff = "backed_off"
    /// Plain NIP-74 from an exit that is known to speak sessions.
    case downgradeRefused = "downgrade_refused"
    /// A message of our own that somebody sent back to us.
    case reflected
    /// A packet that came by another relay than it was sent by.
    case wrongPath = "wrong_path"
    /// A packet that was here before.
    case repeatedPacket = "repeated_packet"
    /// The peer broke the session protocol.
    case protocolViolation = "protocol_violation"
    /// A CONNECT that was dialled before, or for which there is no room to remember it.
    case replayedConnect = "replayed_connect"
    /// Plain data for a stream whose session has begun.
    case afterAcceptance = "after_acceptance"
}
