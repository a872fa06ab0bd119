//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
package import STUN

/// A message that finds out whether datagrams pass between two addresses, as PATH_CHALLENGE and PATH_RESPONSE of QUIC do
/// (RFC 9000, section 8.2). It travels in a datagram of ``DatagramSpace/checks``, so only the peer can create one.
package enum ConnectivityCheck: Hashable, Sendable {
    /// Asks for a response. The token cannot be guessed, so the response shows that the request arrived.
    case request(token: UInt64)
    /// Answers a request with its token, and with the address from which the request arrived.
    case response(token: UInt64, observed: TransportAddress)

    /// Number of bytes of each encoded message. A path that carries the datagram can carry packets of at least
    /// ``DirectPath/basePacket`` bytes, and a response is never larger than its request.
    static let length = 1_200 - DatagramHeader.length - 16

    private enum Kind: UInt8 {
        case request = 1
        case response = 2
    }

    /// The message, padded with zeros.
    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(Self.length)
        switch self {
        case .request(let token):
            buffer.writeInteger(Kind.request.rawValue)
            buffer.writeInteger(token)
        case .response(let token, let observed):
            buffer.writeInteger(Kind.response.rawValue)
            buffer.writeInteger(token)
            observed.encode(into: &buffer)
        }
        buffer.writeRepeatingByte(0, count: Self.length - buffer.readableBytes)
        return buffer
    }

    /// Decodes a message. Returns nil if it is invalid. The padding may have any length and content.
    package init?(_ buffer: ByteBuffer) {
        var buffer = buffer
        guard let kind = buffer.readInteger(as: UInt8.self).flatMap(Kind.init),
            let token = buffer.readInteger(as: UInt64.self)
        else { return nil }
        switch kind {
        case .request:
            // A small request could make the other side send more than it got.
            guard buffer.readableBytes + 9 >= Self.length else { return nil }
            self = .request(token: token)
        case .response:
            guard let observed = TransportAddress(&buffer) else { return nil }
            self = .response(token: token, observed: observed)
        }
    }
}
