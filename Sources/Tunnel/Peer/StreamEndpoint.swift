//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import TunnelProtocol

/// This side's end of a stream, usually a socket. Receives what the peer sends.
///
/// Called on the event loop of what carries the stream. Nothing is called after ``ended(_:)``.
package protocol StreamEndpoint: AnyObject {
    /// The stream is open (entry).
    func opened()
    /// More bytes may be sent.
    func credit(_ bytes: Int)
    /// Bytes of the peer. Report them as consumed when they were passed on.
    func receive(_ data: ByteBuffer)
    /// The peer sends no more.
    func finished()
    /// The stream ended in both directions. Nil if everything was transferred.
    func ended(_ reason: StreamEnd?)
}
