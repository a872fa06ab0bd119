//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

public import NIOCore

/// Limits and timers of one WebSocket connection, either end.
public struct WebSocketConfiguration: Sendable {
    /// Most bytes of one message, all fragments together; a longer one closes the connection with 1009.
    public var maximumMessageLength: Int = 1 << 20
    /// Time between pings on an otherwise silent connection. A connection that stays silent for this long again is
    /// dead and is closed.
    public var pingInterval: TimeAmount = .seconds(25)
    /// How long the other side may take to answer a close frame.
    public var closeTimeout: TimeAmount = .seconds(2)
    /// Whether text messages are checked to be UTF-8 (RFC 6455, section 8.1). Off where the reader of the messages
    /// checks that itself, as the JSON scanner does.
    public var validatesUTF8 = true

    /// A read takes a whole event of the largest size at once, and a turn of the loop is one read: others wait no longer.
    static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
        minimum: 1 << 10,
        initial: 4 << 10,
        maximum: 256 << 10
    )

    public init() {}
}
