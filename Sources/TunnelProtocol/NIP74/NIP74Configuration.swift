//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The limits and times of plain NIP-74. "The reference" is the Go program asmogo/nws, for which several of them exist.
public struct NIP74Configuration: Sendable {
    /// Whether an exit accepts offers of sessions.
    public var takesOffers = true

    // MARK: Sizes

    /// Maximum plaintext of a message in bytes. It needs no padding in NIP-44, and its event fits into the 65,536 bytes that
    /// a default strfry accepts. The reference's exit crashes from 65,534 bytes on.
    public static let maximumPlaintext = 40_960
    /// Maximum data of a message in bytes. The reference reads 32,768 bytes and drops the rest silently. The value also fits
    /// into ``maximumPlaintext`` with a destination of 120 bytes.
    public static let maximumData = 30_555
    /// Bytes of a data message without its data and destination, with the longest type name.
    static let messageOverhead = 97

    /// Bytes of a stream that may wait to be published. Credit is given up to this number.
    public var sendBuffer = 256 << 10
    /// Bytes of a stream that are published and not yet acknowledged by the relay.
    public var inFlightBytes = 1 << 20
    /// Bytes of a stream that are delivered and not yet consumed. Beyond it the stream is reset, because NIP-74 has no flow
    /// control.
    public var receiveBuffer = 4 << 20
    /// Streams of one peer at once.
    public var streams = 1_024
    /// Bytes of messages that are kept because they arrived before their CONNECT.
    public var earlyMessageBytes = 1 << 20
    /// Offers of one client that wait for an answer.
    public var offers = 16
    /// Ended streams that are remembered, so that their late messages are dropped.
    public var rememberedStreams = 1_024

    // MARK: Times

    /// How long the first data waits after a relay accepted CONNECT, unless the exit has answered. The reference handles
    /// each event in its own goroutine and drops data that overtakes CONNECT.
    public var connectGrace: TimeAmount = .milliseconds(300)
    /// Time between two data messages of a stream to the reference. It polls every 100 ms and reorders messages that arrive
    /// together.
    public var plainPacing: TimeAmount = .milliseconds(150)
    /// Time between the last data and the closing message, in which the reference reads the data.
    public var plainCloseDelay: TimeAmount = .milliseconds(400)
    /// How long a relay may take to deliver a message. strfry delivers every 100 ms and sorts by date, so messages that may
    /// be delivered together get ascending dates.
    public var deliveryHorizon: TimeAmount = .milliseconds(250)
    /// Maximum number of seconds by which a message is dated ahead, unless the relay's limit is lower.
    public static let maximumAhead = 600
    /// Seconds kept below a relay's limit, because clocks differ.
    static let aheadMargin = 30

    /// How long a relay may take to accept CONNECT. It is longer than the wait for an OK, after which a message counts as
    /// accepted.
    public var connectTimeout: TimeAmount = .seconds(15)
    /// How long CONNECT is repeated while the exit is not subscribed, for example because a relay was restarted. An exit
    /// repeats its first answer for as long while the client is not subscribed.
    public var exitTimeout: TimeAmount = .seconds(3)
    /// Time between repetitions of a CONNECT that did not reach the exit.
    public var connectRepetition: TimeAmount = .milliseconds(400)
    /// How long an exit may take to accept an offer: if plain NIP-74 may follow, and if it may not or the offer has a proof.
    public var fallbackDelay: (first: TimeAmount, only: TimeAmount) = (.seconds(2), .seconds(10))
    /// Time between repetitions of an offer.
    public var offerRepetition: TimeAmount = .milliseconds(300)
    /// How long an exit remembers an offer that is neither accepted nor followed by data.
    public var offerLifetime: TimeAmount = .seconds(15)
    /// How long a stream may be silent in both directions before it ends.
    public var idleTimeout: TimeAmount = .minutes(5)
    /// How long an entry waits for the first bytes of an exit after a relay accepted the client's first bytes.
    public var answerTimeout: TimeAmount = .seconds(60)
    /// The same, while the exit has sent nothing on any stream: it may be offline, or not know this device. An exit of the
    /// reference sends nothing before the service has answered.
    public var firstAnswerTimeout: TimeAmount = .seconds(30)
    /// Minimum time from the CONNECT of a reference entry to the exit's first message. The entry subscribes to the answers
    /// at the same time as it sends CONNECT, and an earlier answer may reach the relay before the subscription. If the
    /// relay reports that nobody is subscribed, the exit sends the answer again, and doubles this delay each time.
    public var firstAnswerDelay: TimeAmount = .milliseconds(60)
    /// How long a stream to the reference may be silent after its local side finished.
    public var plainLinger: TimeAmount = .seconds(30)
    /// How long messages are kept that arrived before their CONNECT.
    public var earlyMessageTimeout: TimeAmount = .seconds(2)
    /// Accepted dates of a CONNECT, in seconds from now. They limit how long a relay can replay it.
    public static let connectWindow: ClosedRange<Int64> = -120...900

    /// Returns whether a date is within ``connectWindow``. The date may be any number: it is never subtracted from.
    ///
    /// - Parameters:
    ///   - date: Seconds since 1970, as a peer wrote it.
    ///   - now: Seconds since 1970, by the clock of this machine.
    package static func isRecent(_ date: Int64, at now: Int64) -> Bool {
        (now + Self.connectWindow.lowerBound...now + Self.connectWindow.upperBound).contains(date)
    }

    /// Maximum difference in seconds between the date of an offer and the time at which the exit explains why it refuses it.
    /// Older ones are probably repeated by a relay.
    private static let explainedDifference: Int64 = 3_600

    /// Returns whether an offer whose date is not recent should be refused with an explanation: one of the two clocks is
    /// probably wrong.
    ///
    /// - Parameters:
    ///   - date: Seconds since 1970, as a peer wrote it.
    ///   - now: Seconds since 1970, by the clock of this machine.
    ///   - correction: The seconds by which the relays' clocks are ahead of it.
    package static func isExplained(_ date: Int64, at now: Int64, correction: Int64) -> Bool {
        (now - Self.explainedDifference...now + Self.explainedDifference).contains(date)
            || Self.isRecent(date, at: now + correction)
    }

    /// First and longest wait before messages are repeated that a relay rejected as rate-limited.
    public var backOff: (first: TimeAmount, most: TimeAmount) { (.seconds(1), .seconds(30)) }
    /// Number of consecutive rejections after which a stream ends.
    public static let maximumBackOffs = 8

    /// The closing message. A reference entry closes the stream whose key receives a message that is not JSON.
    public static let plainCloseMessage = Array("close".utf8)

    /// Creates a configuration with the default values.
    public init() {}
}
