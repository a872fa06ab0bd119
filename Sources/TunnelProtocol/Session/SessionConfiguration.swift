//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// Limits and timeouts of sessions (docs/PROTOCOL.md explains the values).
public struct SessionConfiguration: Hashable, Sendable {
    /// The version of the session protocol that this implementation offers and accepts.
    public static let version: UInt64 = 1

    // MARK: Sizes

    /// Maximum packet size in plaintext bytes until a path has shown that it carries larger packets. NIP-44 adds no
    /// padding at this length, and the event fits into the 65,536 bytes that strfry accepts by default. The size is
    /// smaller if the relay declares lower limits.
    public static let basePacket = 40_960
    /// Maximum packet size in plaintext bytes, for sending and receiving. It is the largest length that NIP-44 encodes
    /// in two bytes. Larger packets would spread the cost of an event over more data, but they would delay small
    /// packets behind them.
    public static let largestPacket = 65_535
    /// Minimum packet size in plaintext bytes. A path that cannot carry packets of this size is not used.
    public static let minimumPacket = 1_024
    /// Maximum number of relays of a session, each of which is a path.
    public static let maximumPaths = 16

    /// Maximum number of streams that a client may have open at the same time.
    public var maximumStreams = 1_024
    /// Initial receive window of a stream in bytes, which the handshake declares. It grows while the reader is fast.
    public var initialStreamWindow = 256 << 10
    /// The receive window that a stream gets when it is opened, in bytes, while it fits into a quarter of
    /// ``windowBudget``. The initial one is less than several relays together carry in a round trip.
    public var openStreamWindow = 1 << 20
    /// Maximum receive window of a stream in bytes. It allows about 80 MB/s over a relay that delivers every 100 ms.
    public var maximumStreamWindow = 16 << 20
    /// Credit in bytes for all streams together until the exit has connected the first one (exit). Nil for the full
    /// credit. A client that has opened no stream can then not make the exit hold much data.
    package var unusedSessionWindow: Int?
    /// Maximum total growth, in bytes, of all stream windows of a session above ``initialStreamWindow``.
    public var windowBudget = 48 << 20
    /// Whether a stream is reported as open before the exit confirms it (client). The first data is then sent together
    /// with the request. If opening fails, the stream is reset.
    public var opensAtOnce = false
    /// Whether ``opensAtOnce`` holds for streams to services to which the exit has connected within the last minute
    /// (client).
    public var opensRecentAtOnce = true
    /// Maximum bytes of a stream that wait in the send buffer. The engine grants no more credit. If many streams
    /// send, the limit of each is lower, down to 64 KiB (or this value, if it is less).
    public var sendBuffer = 256 << 10
    /// Maximum congestion window of a path in bytes.
    public var maximumCongestionWindow = 32 << 20
    /// Maximum number of ranges of received packet numbers that are stored for each path. Packets below the stored
    /// ranges are treated as repeated.
    public static let receivedRuns = 256

    /// Whether this node understands the frames of direct paths.
    package var usesDatagrams = false

    // MARK: Acknowledgements and coalescing

    /// Maximum delay of an acknowledgement (RFC 9000, section 13.2.1: max_ack_delay).
    public var acknowledgementDelay: TimeAmount = .milliseconds(20)
    /// Number of ack-eliciting packets after which an acknowledgement is sent without delay.
    public var acknowledgementThreshold = 16
    /// How long a packet that is not full waits for more data. It is sent without delay if no packets are in flight on
    /// the path.
    public var coalescing: TimeAmount = .microseconds(300)
    /// The same while a transfer is in progress and no small message waits. On a fast path, a packet takes longer to fill.
    package var bulkCoalescing: TimeAmount = .milliseconds(1)

    // MARK: Loss

    /// The round-trip time that is assumed before the first measurement (RFC 9002, section 6.2.2: kInitialRtt).
    public var initialRTT: TimeAmount = .milliseconds(250)
    /// Minimum time threshold for loss detection, minimum variation term of the probe timeout, and minimum probe
    /// interval (RFC 9002, section 6.1.2: kGranularity).
    public var granularity: TimeAmount = .milliseconds(2)
    /// Maximum interval between probes of a path: while no other path is active, and while another path is active.
    public var probing: (alone: TimeAmount, beside: TimeAmount) { (.seconds(2), .seconds(15)) }
    /// Interval between probes of a relay that waits while the direct path delivers. A probe and its answer are two events, so that
    /// a relay carries two events a minute of such a session.
    public var standbyInterval: TimeAmount { .seconds(60) }

    // MARK: Life

    /// How long to wait for an exit to accept an offer before falling back to plain NIP-74.
    public var fallbackDelay: TimeAmount = .seconds(2)
    /// How long to wait for an exit to accept an offer if falling back is not allowed.
    public var offerTimeout: TimeAmount = .seconds(10)
    /// Interval between repetitions of an offer. An exit answers repetitions at most once in half of this time.
    public var offerRepetition: TimeAmount = .milliseconds(300)
    /// How long an exit keeps an accepted offer while no packet of the session arrives.
    public var offerLifetime: TimeAmount = .seconds(15)
    /// How long a request waits if every connected relay reports that the exit is not subscribed.
    public var exitTimeout: TimeAmount = .seconds(3)
    /// How long a request waits while no relay is connected.
    public var relayTimeout: TimeAmount = .seconds(10)
    /// How long a client waits for the exit to confirm a stream.
    public var openTimeout: TimeAmount = .seconds(30)
    /// How long a session may receive no packet from the peer before it ends. The session survives the loss of all
    /// relays for this time.
    public var peerTimeout: TimeAmount = .seconds(180)
    /// How long the peer may be silent before it is sent a PING, while streams are open.
    public var keepAlive: TimeAmount = .seconds(30)
    /// How long packets may be unanswered before the client asks the exit whether it still knows the session.
    public var suspicion: TimeAmount = .seconds(2)
    /// How long a stream may be idle before it ends. Nil disables the timeout.
    public var streamIdleTimeout: TimeAmount?
    /// Age at which the session keys are replaced.
    public var keyLifetime: TimeAmount = .minutes(30)
    /// Number of bytes after which the session keys are replaced. The client counts the bytes that it sends and
    /// receives.
    public var keyBytes: UInt64 = 4 << 30
    /// How long the old keys are kept to decrypt packets that are still in flight.
    public var keyOverlap: TimeAmount = .seconds(10)

    /// Creates a configuration with the default values.
    public init() {}
}
