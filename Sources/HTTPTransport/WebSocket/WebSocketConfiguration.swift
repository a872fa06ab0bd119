//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// Limits and timers of a WebSocket connection, for clients and servers.
package struct WebSocketConfiguration: Sendable {
    /// Maximum size of a received message in bytes, including all fragments. A longer message closes the connection
    /// with status 1009.
    package var maximumMessageLength: Int = 1 << 20
    /// Time between pings. If nothing at all is received between two pings, the connection is closed. Nil for a connection
    /// whose owner sends pings (``WebSocket/ping()``).
    package var pingInterval: TimeAmount? = .seconds(25)
    /// How long to wait for the peer's close frame before closing the connection.
    package var closeTimeout: TimeAmount = .seconds(2)
    /// Whether received text messages are checked for valid UTF-8 (RFC 6455, section 8.1). Turn it off only if the
    /// receiver checks this itself.
    package var validatesUTF8 = true

    /// Whether to agree on compressed messages with the peer (permessage-deflate, RFC 7692).
    package var compresses = true

    /// Allocates read buffers of 1 to 256 KiB.
    ///
    /// The maximum matches the default message limit of a relay. A connection reads once per turn of the event loop, so
    /// the buffer size also limits how long it delays other connections.
    static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
        minimum: 1 << 10,
        initial: 4 << 10,
        maximum: 256 << 10
    )

    /// Creates a configuration with default values.
    package init() {}
}
