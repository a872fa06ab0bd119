//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// An IP address and a UDP port (RFC 8445, section 4).
package struct TransportAddress: Hashable, Sendable {
    /// The address in network byte order: 4 bytes of IPv4 in the lowest bits, or 16 bytes of IPv6.
    private let high: UInt64
    private let low: UInt64
    package let isIPv6: Bool
    /// The port, which is not 0.
    package let port: UInt16

    /// - Parameters:
    ///   - bytes: 4 bytes of IPv4 or 16 bytes of IPv6. An IPv4-mapped IPv6 address becomes the IPv4 address.
    ///   - port: The port.
    /// - Returns: Nil if the number of bytes is another one, or the port is 0.
    package init?(_ bytes: some Collection<UInt8>, port: UInt16) {
        guard port != 0 else { return nil }
        let words = (
            bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) },
            bytes.dropFirst(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        )
        switch bytes.count {
        case 4: (self.high, self.low, self.isIPv6) = (0, words.0, false)
        case 16 where words.0 == 0 && words.1 >> 32 == 0xffff:
            (self.high, self.low, self.isIPv6) = (0, words.1 & 0xffff_ffff, false)
        case 16: (self.high, self.low, self.isIPv6) = (words.0, words.1, true)
        default: return nil
        }
        self.port = port
    }

    /// The 4 or 16 bytes of the IP address in network byte order.
    package var bytes: [UInt8] {
        let words = self.isIPv6 ? [self.high, self.low] : [self.low << 32]
        let bytes = words.flatMap { word in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> UInt64($0)) }
        }
        return Array(bytes.prefix(self.isIPv6 ? 16 : 4))
    }

    // MARK: Encoding

    /// Maximum number of bytes of the encoded form: length of the address, address, port.
    package static let maximumLength = 1 + 16 + 2

    package func encode(into buffer: inout ByteBuffer) {
        let bytes = self.bytes
        buffer.writeInteger(UInt8(bytes.count))
        buffer.writeBytes(bytes)
        buffer.writeInteger(self.port)
    }

    /// Decodes an address. Returns nil if it is cut short, or is neither IPv4 nor IPv6.
    package init?(_ buffer: inout ByteBuffer) {
        guard let count = buffer.readInteger(as: UInt8.self), count == 4 || count == 16,
            let bytes = buffer.readBytes(length: Int(count)), let port = buffer.readInteger(as: UInt16.self)
        else { return nil }
        self.init(bytes, port: port)
    }
}
