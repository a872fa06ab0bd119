//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

import NIOCore

/// The first byte of every plaintext between session keys. The high four bits are the version of the format; 0 stands for
/// formats that all versions share. A JSON message of NIP-74 never starts with such a byte.
enum PlaintextKind: UInt8, Sendable {
    /// The exit rejects an offer or a session query.
    case refusal = 0x01
    /// A packet from the client: path, packet number and frames.
    case clientPacket = 0x10
    /// A packet from the exit.
    case exitPacket = 0x11
    /// The exit accepts an offer.
    case acceptance = 0x12
}

/// The header of a packet, which precedes its frames.
struct SessionPacketHeader: Hashable, Sendable {
    var path: PathID
    /// The packet number. Each direction of each path has its own numbers, which start at 0 and are never reused.
    var number: UInt64

    /// Maximum length of the header in bytes.
    static let maximumLength = 1 + 2 + 8

    func encode(isFromExit: Bool, into buffer: inout ByteBuffer) {
        let kind = isFromExit ? PlaintextKind.exitPacket : .clientPacket
        buffer.writeInteger(kind.rawValue)
        buffer.writeVariableLengthInteger(UInt64(self.path.rawValue))
        buffer.writeVariableLengthInteger(self.number)
    }

    /// Decodes the header of a packet and leaves the frames in `buffer`.
    ///
    /// - Throws: ``SessionDecodingError`` if the header is invalid, or if the direction is not `isFromExit`.
    init(_ buffer: inout ByteBuffer, isFromExit: Bool) throws(SessionDecodingError) {
        guard let byte = buffer.readInteger(as: UInt8.self) else { throw .truncated }
        let kind = PlaintextKind(rawValue: byte)
        guard kind == .clientPacket || kind == .exitPacket else { throw .unknownKind(byte) }
        guard (kind == .exitPacket) == isFromExit else { throw .wrongDirection }
        self.path = try SessionFrameDecoder.path(&buffer)
        self.number = try SessionFrameDecoder.integer(&buffer)
    }

    init(path: PathID, number: UInt64) {
        self.path = path
        self.number = number
    }
}
