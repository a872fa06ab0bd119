//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import TunnelProtocol

/// Whoever sits at this end of a stream: a socket, usually.
///
/// Called on the link's loop. After ``ended(_:)`` nothing comes.
package protocol StreamEndpoint: AnyObject {
    /// The stream is open (entry).
    func opened()
    /// More bytes may be sent.
    func credit(_ bytes: Int)
    /// Bytes from the peer. Tell the link when they went on.
    func receive(_ data: ByteBuffer)
    /// The peer sends no more.
    func finished()
    /// Over, both ways; nil when everything was carried.
    func ended(_ reason: StreamEnd?)
}
