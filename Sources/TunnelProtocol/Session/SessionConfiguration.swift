//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The limits and times of sessions (docs/PROTOCOL.md gives the reasons).
public struct SessionConfiguration: Hashable, Sendable {
    /// The version of the session protocol that this side offers and takes.
    public static let version: Int64 = 1

    // MARK: Sizes

    /// Most plaintext bytes of a packet before a relay has shown that it takes more: they pad to themselves, and their
    /// event is the largest that a default strfry takes. Less where a relay says less.
    public static let basePacket = 40_960
    /// Most plaintext bytes of a packet that is sent or taken: the most whose length takes NIP-44 two bytes. An event has
    /// a price however small it is, but a larger packet keeps more small ones waiting.
    public static let largestPacket = 65_535
    /// Fewest plaintext bytes of a packet that a path must carry to be used.
    public static let minimumPacket = 1_024
    /// Paths of one session.
    public static let maximumPaths = 16

    /// Streams that a client may have open at once.
    public var maximumStreams = 1_024
    /// Bytes of a stream that may be under way before the reader took any. Grows while it reads quickly.
    public var initialStreamWindow = 256 << 10
    /// What it grows to: what a relay that delivers every 100 ms needs for 80 MB/s.
    public var maximumStreamWindow = 16 << 20
    /// How much all windows of a session may grow together, above what each stream starts with.
    public var windowBudget = 48 << 20
    /// Whether streams are open as soon as they are asked for, so that first bytes go with the request (client). A failure
    /// then is a reset.
    public var opensAtOnce = false
    /// Bytes of a stream that wait here to be sent; credit is given for no more.
    public var sendBuffer = 256 << 10
    /// Most bytes of a path under way.
    public var maximumCongestionWindow = 32 << 20
    /// Packet numbers of a path that are remembered, in runs. What lies below is taken for repeated.
    public static let receivedRuns = 256

    // MARK: Acknowledgements and coalescing

    /// How long an acknowledgement waits for company (RFC 9000: max_ack_delay).
    public var acknowledgementDelay: TimeAmount = .milliseconds(20)
    /// Packets after which it waits no longer.
    public var acknowledgementThreshold = 16
    /// How long a packet that is not full waits for more bytes, while others are under way. Never on an idle line.
    public var coalescing: TimeAmount = .microseconds(300)

    // MARK: Loss

    /// Round trip assumed before there is a measurement.
    public var initialRTT: TimeAmount = .milliseconds(250)
    /// Shortest time in which reordering is told from loss, and shortest probe time-out.
    public var granularity: TimeAmount = .milliseconds(2)
    /// Longest time between probes of a path while there is no other, and while there is.
    public var probing: (alone: TimeAmount, beside: TimeAmount) { (.seconds(2), .seconds(15)) }

    // MARK: Life

    /// For an exit to accept at first contact, in `auto`; after this plain NIP-74 is spoken.
    public var offerPatience: TimeAmount = .seconds(2)
    /// For an exit to accept when nothing else than a session will do.
    public var offerTimeout: TimeAmount = .seconds(10)
    /// Between repetitions of an offer, and of an acceptance.
    public var offerRepetition: TimeAmount = .milliseconds(300)
    /// How long an exit remembers an offer of which nothing came.
    public var offerLifetime: TimeAmount = .seconds(15)
    /// How long a request waits for an exit that every relay says is not there.
    public var exitPatience: TimeAmount = .seconds(3)
    /// How long a request waits for any relay to be reached.
    public var relayPatience: TimeAmount = .seconds(10)
    /// For an exit to connect a stream's target.
    public var openTimeout: TimeAmount = .seconds(30)
    /// Without a packet from the peer for this long, the session is over. Relays may all be gone meanwhile.
    public var peerTimeout: TimeAmount = .seconds(180)
    /// Silence after which the peer is asked for a sign of life, while there are streams.
    public var keepAlive: TimeAmount = .seconds(30)
    /// Unanswered for this long, an exit is asked whether it still knows the session.
    public var suspicion: TimeAmount = .seconds(2)
    /// A stream on which nothing is sent either way ends after this; nil for never.
    public var streamIdleTimeout: TimeAmount?
    /// Age of keys at which fresh ones are made.
    public var keyLifetime: TimeAmount = .minutes(30)
    /// Bytes under keys, sent and at a client also received, after which fresh ones are made.
    public var keyBytes: UInt64 = 4 << 30
    /// How long the old keys still open what is under way.
    public var keyOverlap: TimeAmount = .seconds(10)

    public init() {}
}
