//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN

/// Messages of the Port Control Protocol with the MAP opcode for UDP (RFC 6887).
enum PCPMessage {
    /// The version of the protocol.
    static let version: UInt8 = 2
    private static let map: UInt8 = 1
    private static let isResponse: UInt8 = 0x80
    private static let udp: UInt8 = 17
    /// Maximum number of bytes of a message (RFC 6887, section 7).
    static let maximumLength = 1_100

    /// A response to a request of this node.
    struct Response: Hashable {
        let result: UInt8
        /// How long the mapping exists, or after which time an error may be gone, in seconds.
        let lifetime: UInt32
        /// The external address and port; nil if the response is an error.
        let external: TransportAddress?
    }

    /// The router does not know this version of the protocol (RFC 6887, section 7.4).
    static let unsupportedVersion: UInt8 = 1

    /// Encodes a request.
    ///
    /// - Parameters:
    ///   - client: The address of this machine at the router, and the port to be mapped.
    ///   - nonce: The nonce of the mapping.
    ///   - lifetime: The wanted lifetime in seconds; 0 removes the mapping.
    ///   - external: The suggested external address and port; nil for any.
    static func request(
        client: TransportAddress,
        nonce: PortMappingNonce,
        lifetime: UInt32,
        external: TransportAddress?
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(Self.version, Self.map, UInt16(0), lifetime)
        Self.write(client.bytes, to: &buffer)
        buffer.writeBytes(nonce.bytes)
        buffer.writeMultipleIntegers(Self.udp, UInt8(0), UInt16(0), client.port, external?.port ?? 0)
        Self.write(external?.bytes ?? [0, 0, 0, 0], to: &buffer)
        return buffer
    }

    /// Writes an address of 16 bytes; one of IPv4 as an IPv4-mapped IPv6 address.
    private static func write(_ address: [UInt8], to buffer: inout ByteBuffer) {
        if address.count == 4 { buffer.writeMultipleIntegers(UInt64(0), UInt32(0xffff)) }
        buffer.writeBytes(address)
    }

    /// Decodes a response. Returns nil if it is no response to a request with this nonce and port.
    static func response(_ datagram: ByteBuffer, nonce: PortMappingNonce, internalPort: UInt16) -> Response? {
        var buffer = datagram
        guard datagram.readableBytes <= Self.maximumLength,
            let (version, opcode, _, result, lifetime, _, _, _, _) = buffer.readMultipleIntegers(
                as: (UInt8, UInt8, UInt8, UInt8, UInt32, UInt32, UInt32, UInt32, UInt32).self
            ), opcode == Self.isResponse | Self.map
        else { return nil }
        // A router with another version may not know what follows.
        if version != Self.version || result == Self.unsupportedVersion {
            guard result != 0 else { return nil }
            return Response(result: Self.unsupportedVersion, lifetime: lifetime, external: nil)
        }
        guard let ownNonce = buffer.readBytes(length: PortMappingNonce.length), ownNonce == nonce.bytes,
            let (transport, _, _, port, externalPort) = buffer.readMultipleIntegers(
                as: (UInt8, UInt8, UInt16, UInt16, UInt16).self
            ), transport == Self.udp, port == internalPort
        else { return nil }
        guard result == 0 else { return Response(result: result, lifetime: lifetime, external: nil) }
        guard let address = buffer.readBytes(length: 16) else { return nil }
        // The answer to the removal of a mapping has no address.
        let external = TransportAddress(address, port: externalPort)
        guard external != nil || lifetime == 0 else { return nil }
        return Response(result: 0, lifetime: lifetime, external: external)
    }
}
