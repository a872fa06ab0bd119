//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import HTTPTransport
package import NIOCore
package import TunnelProtocol

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

extension TransportAddress {
    /// Converts an address of a socket. Returns nil for Unix sockets, and if the port is 0.
    package init?(_ address: SocketAddress) {
        guard let bytes = address.addressBytes, let port = address.port.flatMap(UInt16.init(exactly:)) else {
            return nil
        }
        self.init(bytes, port: port)
    }

    /// The address as NIO writes it. Nil if it cannot be converted, which does not happen.
    package var socketAddress: SocketAddress? {
        try? SocketAddress(packedIPAddress: ByteBuffer(bytes: self.bytes), port: Int(self.port))
    }
}
