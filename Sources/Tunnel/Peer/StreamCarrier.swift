//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// The transport of a stream: a ``PeerLink``, which uses relays, or a separate connection (``ReverseStream``).
protocol StreamCarrier: AnyObject {
    /// Sends bytes. The caller must stay within the credit, except for one read.
    func send(_ id: StreamID, _ data: ByteBuffer)
    /// Finishes the sending direction of the stream.
    func finish(_ id: StreamID)
    /// Resets the stream. Its endpoint is not called any more.
    func reset(_ id: StreamID, _ reason: StreamEnd)
    /// Delivers the bytes that were sent, and then resets the stream. Its endpoint is not called any more.
    func resetAfterDelivery(_ id: StreamID, _ reason: StreamEnd)
    /// Reports that the endpoint has consumed received bytes, so that the peer may send more.
    func consumed(_ id: StreamID, _ bytes: Int)
    /// Reports that the target of the stream is connected (exit).
    func connected(_ id: StreamID)
    /// Replaces the endpoint of the stream. The new endpoint receives all further data.
    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint)
}

/// A stream endpoint that is attached to its stream after it was created.
protocol AttachableEndpoint: StreamEndpoint {
    /// Attaches the endpoint to a stream.
    ///
    /// - Parameter earlyBytes: Number of the client's first bytes that the peer has already received.
    func attach(to carrier: any StreamCarrier, as id: StreamID, earlyBytes: Int)
}
