//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import STUN

extension TransportAddress {
    /// Converts an address of a socket. Returns nil for Unix sockets, and if the port is 0.
    package init?(_ address: SocketAddress) {
        guard let bytes = address.addressBytes, let port = address.port.flatMap(UInt16.init(exactly:)) else {
            return nil
        }
        self.init(bytes, port: port)
    }

    /// The address and port as text; an IPv6 address in brackets.
    package var text: String {
        let host = self.socketAddress?.ipAddress ?? ""
        return self.isIPv6 ? "[\(host)]:\(self.port)" : "\(host):\(self.port)"
    }

    /// The address as NIO writes it. Nil if it cannot be converted, which does not happen.
    package var socketAddress: SocketAddress? {
        try? SocketAddress(packedIPAddress: ByteBuffer(bytes: self.bytes), port: Int(self.port))
    }
}
