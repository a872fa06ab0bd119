//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import TunnelProtocol

/// The local end of a stream, usually a socket. Receives the data of the peer.
///
/// The methods are called on the event loop of the stream's carrier. No method is called after ``ended(_:)``.
package protocol StreamEndpoint: AnyObject {
    /// The stream is open (entry).
    func opened()
    /// More bytes may be sent.
    func credit(_ bytes: Int)
    /// The peer has sent bytes. Report them to the carrier as consumed when they were processed.
    func receive(_ data: ByteBuffer)
    /// The peer has finished sending.
    func finished()
    /// The stream has ended in both directions. The reason is nil if all data was transferred.
    func ended(_ reason: StreamEnd?)
}
