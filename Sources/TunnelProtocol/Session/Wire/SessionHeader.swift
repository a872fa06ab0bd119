//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The first byte of everything that session keys seal: version, kind, direction. No JSON message of NIP-74 starts so.
struct SessionPrefix: Hashable, Sendable {
    /// What follows.
    enum Kind: UInt8, Sendable {
        /// Path, packet number, frames.
        case packet = 0
        /// The exit takes the offer.
        case acceptance = 1
        /// The exit does not know the session, or does not take the offer.
        case refusal = 2
    }

    var kind: Kind
    /// NIP-44's keys are the same both ways, so that a reflected event opens; this bit gives it away.
    var isFromExit: Bool

    /// The high four bits: version 1.
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

/// What stands before the frames of a packet.
struct SessionPacketHeader: Hashable, Sendable {
    var path: PathID
    /// Counts the packets of this direction on this path, from 0; never used twice.
    var number: UInt64

    /// Most bytes of prefix, path and number.
    static let maximumLength = 1 + 2 + 8

    func encode(isFromExit: Bool, into buffer: inout ByteBuffer) {
        buffer.writeInteger(SessionPrefix(.packet, isFromExit: isFromExit).byte)
        buffer.writeVariableLengthInteger(UInt64(self.path.rawValue))
        buffer.writeVariableLengthInteger(self.number)
    }

    /// Reads the header of a packet; the frames stay in `buffer`.
    init(_ buffer: inout ByteBuffer, isFromExit: Bool) throws(SessionDecodingError) {
        guard let byte = buffer.readInteger(as: UInt8.self) else { throw .truncated }
        let prefix = try SessionPrefix(byte: byte)
        guard prefix.kind == .packet else { throw .unknownKind(byte) }
        guard prefix.isFromExit == isFromExit else { throw .wrongDirection }
        self.path = try SessionFrame.path(&buffer)
        self.number = try SessionFrame.integer(&buffer)
    }

    init(path: PathID, number: UInt64) {
        self.path = path
        self.number = number
    }
}
