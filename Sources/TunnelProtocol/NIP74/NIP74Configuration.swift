//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// The constants of the NIP-74 dialect. Those that exist because of the reference say what they meet.
public struct NIP74Configuration: Sendable {
    /// Whether an exit takes offers of sessions.
    public var takesOffers = true

    // MARK: Sizes

    /// Most plaintext bytes of a message: they pad to themselves, and their event is the largest that fits the
    /// 65,536 bytes of a default strfry. Also under the 65,534 bytes at which the reference's exit dies.
    public static let maximumPlaintext = 40_960
    /// Most data bytes of a message: the reference's read buffer has 32,768 and drops the rest silently; this also
    /// fits ``maximumPlaintext`` with a destination of 120 bytes.
    public static let maximumData = 30_555
    /// Bytes of a data message beside its data and destination, with the longest type name.
    static let messageOverhead = 97

    /// Bytes of a stream that wait here to be published; credit is given for no more.
    public var sendBuffer = 256 << 10
    /// Bytes of a stream that were published and not yet acknowledged by the relay.
    public var inFlightBytes = 1 << 20
    /// Bytes handed over and not yet taken by whoever reads; beyond it the stream is reset. NIP-74 can't slow the
    /// other side down.
    public var receiveBuffer = 4 << 20
    /// Streams of one peer at once.
    public var streams = 1_024
    /// Bytes kept of messages that came before their CONNECT, as relays that sort deliver them.
    public var orphanBytes = 1 << 20
    /// Offers of one client that wait for an answer.
    public var offers = 16
    /// Ended streams remembered, so that their late messages are dropped and not taken for early ones.
    public var rememberedStreams = 1_024

    // MARK: Times

    /// After a relay took CONNECT, how long the first data waits if the exit has not spoken. The reference handles each
    /// event in a goroutine of its own and drops data that overtakes CONNECT; its dial needs time too.
    public var connectGrace: TimeAmount = .milliseconds(300)
    /// Time between two data messages of a stream to the reference. It polls every 100 ms and reorders what comes
    /// together; messages 150 ms apart stay in order.
    public var plainPacing: TimeAmount = .milliseconds(150)
    /// From the last data to the closing message for the reference, whose reader must have taken the data by then.
    public var plainCloseDelay: TimeAmount = .milliseconds(400)
    /// How long a relay may take to deliver: strfry batches for 100 ms. Messages that may be under way together get
    /// ascending dates, because strfry sorts each batch by date.
    public var deliveryHorizon: TimeAmount = .milliseconds(250)
    /// Most seconds that a message is dated ahead of now, where the relay does not say less.
    public static let maximumAhead = 600
    /// Seconds kept below a relay's own limit, for clocks that differ.
    static let aheadMargin = 30

    /// For a relay to take CONNECT. Longer than a relay that never answers is waited for, which counts as a yes.
    public var connectTimeout: TimeAmount = .seconds(15)
    /// How long an exit that nobody hears may take to come back, a relay just restarted for instance.
    public var exitPatience: TimeAmount = .seconds(3)
    /// Time between repetitions of a CONNECT that nobody heard or answered.
    public var connectRepetition: TimeAmount = .milliseconds(400)
    /// For an exit to accept an offer: where plain NIP-74 will do after it, and where it will not.
    public var offerPatience: (first: TimeAmount, only: TimeAmount) = (.seconds(2), .seconds(10))
    /// Between repetitions of an offer that nobody accepted.
    public var offerRepetition: TimeAmount = .milliseconds(300)
    /// How long an exit remembers an offer of which nothing came.
    public var offerLifetime: TimeAmount = .seconds(15)
    /// Nothing from the peer and nothing sent: the stream ends.
    public var idleTimeout: TimeAmount = .minutes(5)
    /// How long an entry waits for the first bytes of an exit after a relay accepted the client's first bytes.
    public var answerTimeout: TimeAmount = .seconds(60)
    /// How long a stream to the reference is kept after our side closed, for what is still under way.
    public var plainLinger: TimeAmount = .seconds(30)
    /// How long messages that came before their CONNECT are kept.
    public var orphanTimeout: TimeAmount = .seconds(2)
    /// Oldest and newest date of a CONNECT, in seconds from now. A hostile relay may replay what it saw.
    public static let connectWindow: ClosedRange<Int64> = -120...900
    /// First and longest wait before messages that a relay refused for being too fast are sent again.
    public var backOff: (first: TimeAmount, most: TimeAmount) { (.seconds(1), .seconds(30)) }
    /// Refusals in a row after which a stream ends.
    public static let maximumBackOffs = 8

    /// What ends a stream at a reference entry: a message that is not JSON makes it close the stream whose key it is
    /// addressed to. It has no message for that.
    public static let plainCloseMessage = Array("close".utf8)

    public init() {}
}
