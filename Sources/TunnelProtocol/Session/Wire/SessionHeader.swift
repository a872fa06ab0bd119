//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The first byte of every plaintext that is encrypted with session keys: version, kind and direction. A JSON message
/// of NIP-74 never starts with such a byte.
struct SessionPrefix: Hashable, Sendable {
    /// The kind of the plaintext.
    enum Kind: UInt8, Sendable {
        /// A packet: path, packet number and frames.
        case packet = 0
        /// The exit accepts the offer.
        case acceptance = 1
        /// The exit does not know the session, or rejects the offer.
        case refusal = 2
    }

    var kind: Kind
    /// Whether the exit is the sender. NIP-44 uses the same key in both directions, so a reflected event can be
    /// decrypted. This bit reveals it.
    var isFromExit: Bool

    /// The high four bits contain the version, which is 1.
    private static let version: UInt8 = 0x10

    var byte: UInt8 { Self.version | self.kind.rawValue << 1 | (self.isFromExit ? 1 : 0) }

    init(_ kind: Kind, isFromExit: Bool) {
        self.kind = kind
        self.isFromExit = isFromExit
    }

    init(byte: UInt8) throws(SessionDecodingError) {
        guard byte & 0xf0 == Self.version, let kind = Kind(rawValue: byte >> 1 & 7) else { throw .unknownKind(byte) }
        self.kind = kind
        self.isFromExit = byte & 1 == 1
    }
}

/// The header of a packet, which precedes its frames.
struct SessionPacketHeader: Hashable, Sendable {
    var path: PathID
    /// The packet number. Each direction of each path has its own numbers, which start at 0 and are never reused.
    var number: UInt64

    /// Maximum length of the header in bytes.
    static let maximumLength = 1 + 2 + 8

    func encode(isFromExit: Bool, into buffer: inout ByteBuffer) {
        buffer.writeInteger(SessionPrefix(.packet, isFromExit: isFromExit).byte)
        buffer.writeVariableLengthInteger(UInt64(self.path.rawValue))
        buffer.writeVariableLengthInteger(self.number)
    }

    /// Decodes the header of a packet and leaves the frames in `buffer`.
    ///
    /// - Throws: ``SessionDecodingError`` if the header is invalid, or if the direction is not `isFromExit`.
    init(_ buffer: inout ByteBuffer, isFromExit: Bool) throws(SessionDecodingError) {
        guard let byte = buffer.readInteger(as: UInt8.self) else { throw .truncated }
        let prefix = try SessionPrefix(byte: byte)
        guard prefix.kind == .packet else { throw .unknownKind(byte) }
        guard prefix.isFromExit == isFromExit else { throw .wrongDirection }
        self.path = try SessionFrameDecoder.path(&buffer)
        self.number = try SessionFrameDecoder.integer(&buffer)
    }

    init(path: PathID, number: UInt64) {
        self.path = path
        self.number = number
    }
}
