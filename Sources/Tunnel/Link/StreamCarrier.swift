//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import TunnelProtocol

/// What carries a stream: a link over relays, or a connection of its own.
protocol StreamCarrier: AnyObject {
    /// Sends bytes, as far as credit was granted.
    func send(_ id: StreamID, _ data: ByteBuffer)
    /// No more bytes will be sent.
    func finish(_ id: StreamID)
    /// Ends the stream from this side; its endpoint hears nothing more.
    func reset(_ id: StreamID, _ reason: StreamEnd)
    /// Bytes that were handed over went on.
    func consumed(_ id: StreamID, _ bytes: Int)
    /// The stream's target is connected (exit).
    func connected(_ id: StreamID)
    /// Another endpoint takes over.
    func replaceEndpoint(of id: StreamID, with endpoint: any StreamEndpoint)
}

extension PeerLink: StreamCarrier {}
