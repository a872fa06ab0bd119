//
// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//

/// Why a packet is ignored.
enum PacketRejection: Error, Hashable, Sendable {
    /// The packet is too large, or its header cannot be decoded.
    case malformed
    /// A frame of the packet cannot be decoded, or has an unknown type. The peer has sent it, because the packet is
    /// authenticated, so the session ends.
    case malformedFrame
    /// The packet contains data of a stream that the client has not opened yet. It is not acknowledged, so the client sends
    /// the data again.
    case unopenedStream
    /// A packet of this node that a relay sent back.
    case reflected
    /// The packet was copied to another relay. It gives no information about the path in its header.
    case wrongPath
    /// A packet with this number was received before.
    case repeated

    var report: ProtocolReport {
        switch self {
        case .malformed: .malformedMessage
        case .malformedFrame: .protocolViolation
        case .unopenedStream: .unknownStream
        case .reflected: .reflected
        case .wrongPath: .wrongPath
        case .repeated: .repeatedPacket
        }
    }
}
