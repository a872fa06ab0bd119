//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
import NIOCore
package import STUN

/// An IP address and a UDP port at which datagrams reach a node.
public struct DirectAddress: Hashable, Sendable {
    package let address: TransportAddress

    package init(_ address: TransportAddress) { self.address = address }

    /// Parses an IPv4 address, or an IPv6 address without brackets.
    ///
    /// - Returns: Nil if it is no IP address, or the port is 0.
    public init?(ip: String, port: UInt16) {
        guard let address = try? SocketAddress(ipAddress: ip, port: Int(port)), let own = TransportAddress(address)
        else {
            return nil
        }
        self.address = own
    }
}
