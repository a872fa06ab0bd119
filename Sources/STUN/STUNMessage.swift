//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore

/// A binding request of STUN, or its success response (RFC 8489). Other methods, and authentication, are not used here.
package enum STUNMessage: Hashable, Sendable {
    /// Identifies a request and its response: 96 random bits.
    package struct TransactionID: Hashable, Sendable {
        package let bytes: [UInt8]

        package static let length = 12

        /// - Parameter bytes: At least ``length`` random bytes, of which the first ones are used.
        package init(random bytes: [UInt8]) { self.bytes = Array(bytes.prefix(Self.length)) }

        /// Returns nil if there are not ``length`` bytes.
        package init?(_ bytes: [UInt8]) {
            guard bytes.count == Self.length else { return nil }
            self.bytes = bytes
        }
    }

    /// Asks from which address the request arrives.
    case request(TransactionID)
    /// Answers with XOR-MAPPED-ADDRESS.
    case response(TransactionID, mapped: TransportAddress)

    private static let headerLength = 20
    private static let magicCookie: UInt32 = 0x2112_a442
    private static let bindingRequest: UInt16 = 0x0001
    private static let bindingResponse: UInt16 = 0x0101
    private static let xorMappedAddress: UInt16 = 0x0020
    private static let software: UInt16 = 0x8022
    /// Number of bytes of the longest response: a header, and XOR-MAPPED-ADDRESS with an IPv6 address.
    package static let maximumResponse = headerLength + 4 + 20
    /// Number of bytes of an encoded request. A server that does not answer with more than it received can answer it.
    package static let requestLength = maximumResponse
    /// Maximum number of bytes of a message that is decoded.
    package static let maximumLength = 1_280

    // MARK: Encoding

    package var encoded: ByteBuffer {
        var buffer = ByteBuffer()
        switch self {
        case .request(let id):
            Self.writeHeader(Self.bindingRequest, Self.requestLength - Self.headerLength, id, into: &buffer)
            let length = Self.requestLength - Self.headerLength - 4
            // Servers that do not know the attribute ignore it. The text says nothing.
            buffer.writeMultipleIntegers(Self.software, UInt16(length))
            buffer.writeRepeatingByte(UInt8(ascii: " "), count: length)
        case .response(let id, let mapped):
            let address = mapped.bytes
            Self.writeHeader(Self.bindingResponse, 8 + address.count, id, into: &buffer)
            buffer.writeMultipleIntegers(Self.xorMappedAddress, UInt16(4 + address.count))
            buffer.writeMultipleIntegers(UInt8(0), UInt8(mapped.isIPv6 ? 2 : 1))
            buffer.writeInteger(mapped.port ^ UInt16(Self.magicCookie >> 16))
            buffer.writeBytes(zip(address, Self.mask(id)).map { $0 ^ $1 })
        }
        return buffer
    }

    private static func writeHeader(_ type: UInt16, _ length: Int, _ id: TransactionID, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(type, UInt16(length), Self.magicCookie)
        buffer.writeBytes(id.bytes)
    }

    /// The bytes with which an address is combined: the magic cookie and the transaction ID.
    private static func mask(_ id: TransactionID) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: Self.magicCookie >> UInt32(24 - 8 * $0)) } + id.bytes
    }

    // MARK: Decoding

    /// Returns whether a datagram is a message of STUN, by its first byte (RFC 7983) and the magic cookie.
    package static func isSTUN(_ datagram: ByteBuffer) -> Bool {
        guard datagram.readableBytes >= Self.headerLength,
            let first = datagram.getInteger(at: datagram.readerIndex, as: UInt8.self)
        else { return false }
        return first < 4 && datagram.getInteger(at: datagram.readerIndex + 4, as: UInt32.self) == Self.magicCookie
    }

    /// Decodes a message. Returns nil for messages of other kinds, malformed ones, and those with unknown attributes that must
    /// be understood.
    package init?(_ datagram: ByteBuffer) {
        guard datagram.readableBytes <= Self.maximumLength, Self.isSTUN(datagram) else { return nil }
        var buffer = datagram
        guard let (type, length, _) = buffer.readMultipleIntegers(as: (UInt16, UInt16, UInt32).self),
            let id = buffer.readBytes(length: TransactionID.length).flatMap(TransactionID.init),
            buffer.readableBytes == Int(length), length % 4 == 0
        else { return nil }
        var mapped: TransportAddress?
        while buffer.readableBytes > 0 {
            guard let (attribute, count) = buffer.readMultipleIntegers(as: (UInt16, UInt16).self),
                let value = buffer.readSlice(length: Int(count)),
                buffer.readSlice(length: (4 - Int(count) % 4) % 4) != nil
            else { return nil }
            switch attribute {
            case Self.xorMappedAddress: mapped = mapped ?? Self.address(value, id)
            // Attributes below 0x8000 must be understood (RFC 8489, section 14). An answer with the address is useful anyway.
            case ..<0x8000 where type == Self.bindingRequest: return nil
            default: break
            }
        }
        switch type {
        case Self.bindingRequest: self = .request(id)
        case Self.bindingResponse:
            guard let mapped else { return nil }
            self = .response(id, mapped: mapped)
        default: return nil
        }
    }

    private static func address(_ value: ByteBuffer, _ id: TransactionID) -> TransportAddress? {
        var value = value
        guard let (_, family, port) = value.readMultipleIntegers(as: (UInt8, UInt8, UInt16).self),
            family == 1 && value.readableBytes == 4 || family == 2 && value.readableBytes == 16
        else { return nil }
        let bytes = zip(value.readableBytesView, Self.mask(id)).map { $0 ^ $1 }
        return TransportAddress(bytes, port: port ^ UInt16(Self.magicCookie >> 16))
    }
}
