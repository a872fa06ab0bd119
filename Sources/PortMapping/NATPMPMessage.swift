//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore
import STUN

/// Messages of the NAT Port Mapping Protocol for UDP (RFC 6886).
enum NATPMPMessage {
    private static let version: UInt8 = 0
    private static let address: UInt8 = 0
    private static let mapUDP: UInt8 = 1
    private static let isResponse: UInt8 = 0x80

    /// A response of the router.
    enum Response: Hashable {
        /// The external address.
        case address([UInt8])
        /// The external port, and how long the mapping exists, in seconds.
        case port(UInt16, lifetime: UInt32)
        /// The router refuses (RFC 6886, section 3.5).
        case refused(UInt16)
    }

    /// Asks for the external address.
    static var addressRequest: ByteBuffer { ByteBuffer(bytes: [Self.version, Self.address]) }

    /// Asks for a mapping.
    ///
    /// - Parameters:
    ///   - internalPort: The port of this machine.
    ///   - externalPort: The suggested external port; 0 for any.
    ///   - lifetime: The wanted lifetime in seconds; 0 removes the mapping.
    static func mappingRequest(internalPort: UInt16, externalPort: UInt16, lifetime: UInt32) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeMultipleIntegers(
            Self.version,
            Self.mapUDP,
            UInt16(0),
            internalPort,
            lifetime == 0 ? 0 : externalPort,
            lifetime
        )
        return buffer
    }

    /// Decodes a response. Returns nil if the datagram is not a response, or is for another port.
    static func response(_ datagram: ByteBuffer, internalPort: UInt16) -> Response? {
        var buffer = datagram
        guard
            let (version, opcode, result, _) = buffer.readMultipleIntegers(as: (UInt8, UInt8, UInt16, UInt32).self),
            version == Self.version
        else { return nil }
        switch opcode {
        case Self.isResponse | Self.address:
            guard result == 0 else { return .refused(result) }
            return buffer.readBytes(length: 4).map { .address($0) }
        case Self.isResponse | Self.mapUDP:
            guard result == 0 else { return .refused(result) }
            guard let (port, external, lifetime) = buffer.readMultipleIntegers(as: (UInt16, UInt16, UInt32).self),
                port == internalPort
            else { return nil }
            return .port(external, lifetime: lifetime)
        default: return nil
        }
    }
}
