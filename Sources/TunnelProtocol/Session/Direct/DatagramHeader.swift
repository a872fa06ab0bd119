//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

package import NIOCore
import NostrCrypto

/// The header of a datagram of a direct path. It has the form of a QUIC packet with a short header, a connection ID of 8 bytes
/// and a packet number of 4 bytes (RFC 9000, section 17.3.1). Its first byte differs from those of STUN (RFC 7983).
///
/// | bytes | field |
/// |---|---|
/// | 1 | `01`, three zero bits, number space, key phase, zero bit; all but the first three bits are encrypted |
/// | 8 | connection ID of the receiver |
/// | 4 | the low 32 bits of the packet number, encrypted |
package struct DatagramHeader: Hashable, Sendable {
    var connection: ConnectionID
    var space: DatagramSpace
    /// The lowest bit of the generation of the keys.
    var keyPhase: UInt8
    /// The low 32 bits of the packet number.
    var truncatedNumber: UInt32

    /// Number of bytes of a header.
    static let length = 1 + ConnectionID.length + 4
    /// Minimum number of bytes of a datagram.
    static let minimumDatagram = Self.length + HeaderProtectionKey.sampleLength

    private static let fixedBit: UInt8 = 0x40
    /// The bits of the first byte that are encrypted.
    private static let protectedBits: UInt8 = 0x1f
    private static let reservedBits: UInt8 = 0x19
    private static let numberOffset = 1 + ConnectionID.length

    /// The connection ID of a datagram; nil if the datagram does not have the form of one of a direct path.
    package static func connection(of datagram: ByteBuffer) -> ConnectionID? {
        let start = datagram.readerIndex
        guard datagram.readableBytes >= Self.minimumDatagram,
            let first = datagram.getInteger(at: start, as: UInt8.self), first & ~Self.protectedBits == Self.fixedBit
        else { return nil }
        return datagram.getInteger(at: start + 1).map { ConnectionID(rawValue: $0) }
    }

    // MARK: Encoding

    /// Appends the header before its protection.
    func write(to buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(
            Self.fixedBit | self.space.rawValue << 2 | self.keyPhase << 1,
            self.connection.rawValue,
            self.truncatedNumber
        )
    }

    /// Encrypts the header of a sealed datagram. Returns false if the datagram is too short.
    static func protect(_ datagram: inout MutableRawSpan, with key: HeaderProtectionKey) -> Bool {
        guard datagram.byteCount >= Self.minimumDatagram,
            let mask = key.mask(datagram.bytes.extracting(Self.length..<Self.minimumDatagram))
        else { return false }
        unsafe datagram.withUnsafeMutableBytes { unsafe Self.apply(mask, to: $0) }
        return true
    }

    /// Decrypts and decodes the header of a datagram. Returns it in both forms, because its bytes are authenticated; nil if it is
    /// invalid.
    ///
    /// - Parameters:
    ///   - datagram: The datagram.
    ///   - key: The key of the peer's direction.
    static func unprotect(
        _ datagram: ByteBuffer,
        with key: HeaderProtectionKey
    ) -> (header: DatagramHeader, bytes: InlineArray<13, UInt8>)? {
        guard let connection = Self.connection(of: datagram) else { return nil }
        let span = datagram.readableBytesSpan
        guard let mask = key.mask(span.extracting(Self.length..<Self.minimumDatagram)) else { return nil }
        var bytes = InlineArray<13, UInt8> { unsafe span.unsafeLoad(fromByteOffset: $0, as: UInt8.self) }
        assert(bytes.count == Self.length)
        var mutable = bytes.mutableSpan
        unsafe mutable.withUnsafeMutableBytes { unsafe Self.apply(mask, to: $0) }
        guard bytes[0] & Self.reservedBits == 0, let space = DatagramSpace(rawValue: bytes[0] >> 2 & 1) else {
            return nil
        }
        var number: UInt32 = 0
        for index in Self.numberOffset..<Self.length { number = number << 8 | UInt32(bytes[index]) }
        let header = DatagramHeader(
            connection: connection,
            space: space,
            keyPhase: bytes[0] >> 1 & 1,
            truncatedNumber: number
        )
        return (header, bytes)
    }

    /// - Parameter header: At least ``length`` bytes.
    private static func apply(_ mask: InlineArray<5, UInt8>, to header: UnsafeMutableRawBufferPointer) {
        unsafe header[0] ^= mask[0] & Self.protectedBits
        for index in 0..<4 { unsafe header[Self.numberOffset + index] ^= mask[index + 1] }
    }
}

extension DatagramHeader {
    /// Returns the packet number whose low 32 bits are given, and that is closest to `expected`, the number after the largest
    /// one received (RFC 9000, appendix A.3).
    static func number(_ truncated: UInt32, expected: UInt64) -> UInt64 {
        let window: UInt64 = 1 << 32
        let candidate = expected & ~(window - 1) | UInt64(truncated)
        if candidate + window / 2 <= expected, candidate < 1 << 62 - window { return candidate + window }
        if candidate > expected + window / 2, candidate >= window { return candidate - window }
        return candidate
    }
}
