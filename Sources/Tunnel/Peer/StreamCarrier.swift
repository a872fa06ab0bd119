//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// What carries a stream to the peer: a ``PeerLink`` over relays, or a connection of its own (``ReverseStream``).
protocol StreamCarrier: AnyObject {
    /// Sends bytes, within the credit.
    func send(_ id: StreamID, _ data: ByteBuffer)
    /// No more bytes will be sent.
    func finish(_ id: StreamID)
    /// Ends the stream from this side. Its endpoint is not called any more.
    func reset(_ id: StreamID, _ reason: StreamEnd)
    /// Delivers the bytes that were sent, then ends the stream from this side. Its endpoint is not called any more.
    func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd)
    /// Bytes that were delivered were passed on.
    func consumed(_ id: StreamID, _ bytes: Int)
    /// The stream's target is connected (exit).
    func connected(_ id: StreamID)
    /// Another endpoint receives what the peer sends from now on.
    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint)
}

/// A stream endpoint that is told which stream it is the end of.
protocol AttachableEndpoint: StreamEndpoint {
    /// - Parameter earlyBytes: How many of the client's first bytes the peer already has.
    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int)
}
